# SPDX-License-Identifier: Apache-2.0
"""Building by preset, and the test programs that a build has."""

import pathlib
import re

from outcome import Outcome, run_command

CONFIGURE_TIMEOUT_S = 300
BUILD_TIMEOUT_S = 3600

_DETAIL_LINES = 60
_TOOL_DIRECTORIES = ("tests/lab/", "tests/bench/")
_EXECUTABLE = re.compile(r"^(tests/[\w./-]+): CXX_EXECUTABLE_LINKER", re.MULTILINE)


class Build:
    """One build directory."""

    def __init__(self, root, preset, test_directories=("tests/",)):
        """`test_directories`: where the build's tests are taken from."""
        self.preset = preset
        self.directory = pathlib.Path(root) / "build" / preset
        self._root = root
        self._test_directories = test_directories

    def make_all(self):
        return self._make(lambda: [])

    def make_tests(self):
        """Builds only test_programs()."""
        return self._make(self.test_programs)

    def test_programs(self):
        """The GoogleTest programs, as paths relative to the build directory: what is under tests/ and no tool."""
        _, targets = run_command(["ninja", "-C", self.directory, "-t", "targets", "all"], CONFIGURE_TIMEOUT_S)
        programs = [program for program in _EXECUTABLE.findall(targets) if not program.startswith(_TOOL_DIRECTORIES)]
        return sorted(program for program in programs if program.startswith(self._test_directories))

    def _make(self, list_targets):
        code, output = run_command(["cmake", "-S", self._root, "--preset", self.preset], CONFIGURE_TIMEOUT_S)
        if code == 0:
            code, output = run_command(["ninja", "--quiet", "-C", self.directory, *list_targets()], BUILD_TIMEOUT_S)
        if code == 0:
            return Outcome(passed=1)
        return Outcome(failed=1, details="\n".join(output.splitlines()[-_DETAIL_LINES:]))
