# SPDX-License-Identifier: Apache-2.0
"""Building by preset, and the test programs that a build has."""

import pathlib
import re

from outcome import Outcome, run_command

CONFIGURE_TIMEOUT_S = 300
BUILD_TIMEOUT_S = 3600

_EXECUTABLE = re.compile(r"^(tests/\S+): CXX_EXECUTABLE_LINKER", re.MULTILINE)


class Build:
    """One build directory."""

    def __init__(self, root, preset):
        self.preset = preset
        self._root = root
        self.directory = pathlib.Path(root) / "build" / preset

    def make(self):
        code, output = run_command(["cmake", "-S", self._root, "--preset", self.preset], CONFIGURE_TIMEOUT_S)
        if code == 0:
            code, output = run_command(["cmake", "--build", self.directory], BUILD_TIMEOUT_S)
        if code == 0:
            return Outcome(passed=1)
        return Outcome(failed=1, details="\n".join(output.splitlines()[-60:]))

    def test_programs(self):
        """The GoogleTest programs, as paths relative to the build directory: what is under tests/ and no tool."""
        _, targets = run_command(["ninja", "-C", self.directory, "-t", "targets", "all"], CONFIGURE_TIMEOUT_S)
        programs = sorted(_EXECUTABLE.findall(targets))
        return [program for program in programs if not program.startswith(("tests/lab/", "tests/bench/"))]
