#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Builds everything and runs every check and test: one line for each suite, and the sum as the last line."""

import argparse
import functools
import json
import os
import pathlib
import signal
import sys

from build import Build
from google_test import run_google_test
from ledger import Ledger
from outcome import Outcome, check_command
from python_test import run_python_test
from source_checks import check_format, check_shell, check_tidy

ROOT = pathlib.Path(__file__).resolve().parents[2]
GUEST_TIMEOUT_S = 300
VIRTUAL_LAB_TIMEOUT_S = 3600
PACKAGES_TIMEOUT_S = 900
# Pure code and codecs run a second time with AddressSanitizer and UndefinedBehaviorSanitizer.
SANITIZED = ("tests/unit/", "tests/sim/", "tests/fuzz/")
GROUPS = ("sources", "release", "cli", "lab", "tidy", "asan")
# Not part of a run unless named.
LONG_GROUPS = ("soak", "fuzz", "equality")
SOAK = {"TWINSTEP_SOAK_SECONDS": "600", "TWINSTEP_SOAK_FAILOVERS": "5"}
FUZZ_FRAMES = 10_000_000
EQUALITY = {"TWINSTEP_EQUAL_CHECKPOINTS": "1000"}


class Groups:
    """The groups of suites. Each builds what it needs; what is built is built once."""

    def __init__(self, ledger):
        self._ledger = ledger
        self._release = Build(ROOT, "release")
        self._asan = Build(ROOT, "asan", SANITIZED)
        self._guest = self._release.directory / "guest"
        self._environment = os.environ | {"TWINSTEP_GUEST_DIR": str(self._guest),
                                          "TWINSTEP_BUILD_DIR": str(self._release.directory)}

    def sources(self):
        self._ledger.run("sources/format", lambda: check_format(ROOT))
        self._ledger.run("sources/shell", lambda: check_shell(ROOT))

    def release(self):
        if self._release_is_built() and self._guest_is_built():
            self._run_google_tests(self._release)

    def cli(self):
        if self._release_is_built():
            self._run_python_tests("cli")

    def lab(self):
        if self._release_is_built() and self._guest_is_built():
            self._run_python_tests("lab")

            self._ledger.run("lab/virtual", lambda: Outcome(skipped=[
                "the virtual lab with other kernels and KVM takes half an hour: run sudo ./test --lab"]))

    def virtual_lab(self):
        """Both kernels in the virtual lab. Its results go to the report."""
        packages = [ROOT / "tests/install-deps", "--virtual-lab"]
        if not self._ledger.run("virtual lab/packages", lambda: check_command(packages, PACKAGES_TIMEOUT_S)):
            return
        results = self._release.directory / "virtual-lab.json"
        results.unlink(missing_ok=True)
        command = ["/usr/bin/python3", ROOT / "tests/lab/virtual_lab.py", "kernels", "--json", results]
        self._ledger.run("virtual lab", lambda: check_command(command, VIRTUAL_LAB_TIMEOUT_S, env=self._environment | {
            "PYTHONDONTWRITEBYTECODE": "1"}))
        if results.exists():
            self._ledger.add_to_report(json.loads(results.read_text(encoding="utf-8")))

    def soak(self):
        """Ten minutes of mixed load on lossy wires with five failovers."""
        if self._release_is_built() and self._guest_is_built():
            environment = self._environment | SOAK
            self._ledger.run("soak/losses", lambda: run_python_test("test_losses", ROOT / "tests/lab", environment))

    def equality(self):
        """A thousand checkpoints under mixed load, after each of which all memory is compared; 200 with huge pages."""
        if self._release_is_built() and self._guest_is_built():
            environment = self._environment | EQUALITY
            self._ledger.run("equality", lambda: run_python_test("test_equality", ROOT / "tests/lab", environment))

    def tidy(self):
        if self._release_is_built():
            self._ledger.run("tidy", lambda: check_tidy(ROOT, self._release.directory))

    def asan(self):
        if self._ledger.run("asan/build", self._asan.make_tests):
            self._run_google_tests(self._asan)

    def fuzz(self):
        """Ten million frames through each XDP program; the release group does the same with fewer."""
        if self._release_is_built():
            environment = self._environment | {"TWINSTEP_FUZZ_FRAMES": str(FUZZ_FRAMES)}
            program = self._release.directory / "tests/bpf/fuzz/twinstep_fuzz_tests"
            self._ledger.run("fuzz/bpf", lambda: run_google_test(program, environment))

    @functools.cache
    def _release_is_built(self):
        return self._ledger.run("release/build", self._release.make_all)

    @functools.cache
    def _guest_is_built(self):
        command = [ROOT / "tests/lab/guest/build", self._guest]
        return self._ledger.run("release/guest", lambda: check_command(command, GUEST_TIMEOUT_S))

    def _run_python_tests(self, group):
        directory = ROOT / "tests" / group
        for file in sorted(directory.glob("test_*.py")):
            self._ledger.run(f"{group}/{file.stem}",
                             lambda file=file: run_python_test(file.stem, directory, self._environment))

    def _run_google_tests(self, build):
        for program in build.test_programs():
            self._ledger.run(f"{build.preset}/{program.removeprefix('tests/')}",
                             lambda program=program: run_google_test(build.directory / program, self._environment))


def parse_arguments():
    parser = argparse.ArgumentParser(prog="test", description=__doc__)
    parser.add_argument("--json", metavar="FILE", help="write the counts there")
    parser.add_argument("--lab", action="store_true", help="run only the virtual lab, on each of its kernels")
    parser.add_argument("groups", nargs="*", metavar="GROUP",
                        help=f"only these of {', '.join(GROUPS + LONG_GROUPS)}; without, all but {', '.join(LONG_GROUPS)}")
    arguments = parser.parse_args()
    for group in arguments.groups:
        if group not in GROUPS + LONG_GROUPS:
            parser.error(f"there is no group '{group}', only {', '.join(GROUPS + LONG_GROUPS)}")
    return arguments


def leave(number, _frame):
    raise SystemExit(128 + number)


def main():
    arguments = parse_arguments()
    signal.signal(signal.SIGTERM, leave)
    ledger = Ledger()
    groups = Groups(ledger)
    if arguments.lab:
        groups.virtual_lab()
    for group in arguments.groups or (() if arguments.lab else GROUPS):
        getattr(groups, group)()
    if arguments.json:
        pathlib.Path(arguments.json).write_text(json.dumps(ledger.report(), indent=2) + "\n", encoding="utf-8")
    print(ledger.closing_line())
    return 1 if ledger.totals()["failed"] else 0


if __name__ == "__main__":
    sys.exit(main())
