#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Builds everything and runs every check and test: one line for each suite, and the sum as the last line."""

import argparse
import json
import os
import pathlib
import signal
import sys

from build import Build
from google_test import run_google_test
from outcome import check_command, timed
from python_test import run_python_test
from source_checks import check_format, check_shell, check_tidy

ROOT = pathlib.Path(__file__).resolve().parents[2]
GUEST_TIMEOUT_S = 300
# Pure code and codecs run a second time with AddressSanitizer and UndefinedBehaviorSanitizer.
SANITIZED = ("tests/unit/", "tests/sim/", "tests/fuzz/")


def parse_arguments():
    parser = argparse.ArgumentParser(prog="test", description=__doc__)
    parser.add_argument("--json", metavar="FILE", help="write the counts there")
    parser.add_argument("suites", nargs="*", metavar="SUITE",
                        help="run only suites whose name starts so, such as 'shell' or 'release/tests/unit'")
    return parser.parse_args()


class Runner:
    """Runs suites one after the other, prints a line for each and adds up."""

    def __init__(self, wanted):
        self.suites = {}
        self._wanted = tuple(wanted)

    def run(self, name, suite):
        """Runs the suite when it is wanted. False when it failed."""
        if self._wanted and not name.startswith(self._wanted):
            return True
        return self.run_always(name, suite)

    def run_always(self, name, suite):
        outcome = timed(suite)
        self.suites[name] = outcome
        counts = f"{outcome.passed} passed, {outcome.failed} failed, {len(outcome.skipped)} skipped"
        print(f"{outcome.verdict():6}  {name:44} {counts:36} {outcome.seconds:7.1f} s", flush=True)
        for reason in outcome.skipped:
            print(f"        skipped {reason}")
        if outcome.failed:
            print(outcome.details, flush=True)
        return outcome.failed == 0

    def has_all_wanted(self):
        return bool(self._wanted) and all(any(name.startswith(prefix) for name in self.suites)
                                          for prefix in self._wanted)

    def totals(self):
        outcomes = self.suites.values()
        return {
            "passed": sum(outcome.passed for outcome in outcomes),
            "failed": sum(outcome.failed for outcome in outcomes),
            "skipped": sum(len(outcome.skipped) for outcome in outcomes),
        }

    def report(self):
        suites = [{"name": name, "passed": outcome.passed, "failed": outcome.failed, "skipped": outcome.skipped,
                   "seconds": round(outcome.seconds, 1)} for name, outcome in self.suites.items()]
        return self.totals() | {"suites": suites}


def run_google_tests(runner, build, environment):
    for program in build.test_programs():
        if build.preset == "asan" and not program.startswith(SANITIZED):
            continue
        runner.run(f"{build.preset}/{program}",
                   lambda program=program: run_google_test(build.directory / program, environment))


def run_python_tests(runner, environment):
    directory = ROOT / "tests/lab"
    for file in sorted(directory.glob("test_*.py")):
        runner.run(f"lab/{file.stem}", lambda file=file: run_python_test(file.stem, directory, environment))


def run_all(runner):
    release, asan = Build(ROOT, "release"), Build(ROOT, "asan")
    guest = release.directory / "guest"
    environment = dict(os.environ) | {"TWINSTEP_GUEST_DIR": str(guest), "TWINSTEP_BUILD_DIR": str(release.directory)}
    runner.run("format", lambda: check_format(ROOT))
    runner.run("shell", lambda: check_shell(ROOT))
    if runner.has_all_wanted():
        return
    built = runner.run_always("build release", release.make)
    if built and runner.run_always("guest image", lambda: check_command([ROOT / "tests/lab/guest/build", guest],
                                                                       GUEST_TIMEOUT_S)):
        run_google_tests(runner, release, environment)
        run_python_tests(runner, environment)
    if built:
        runner.run("tidy", lambda: check_tidy(ROOT, release.directory))
    if runner.run("build asan", asan.make) and (asan.directory / "build.ninja").exists():
        run_google_tests(runner, asan, environment)


def leave(number, _frame):
    raise SystemExit(128 + number)


def main():
    arguments = parse_arguments()
    signal.signal(signal.SIGTERM, leave)
    runner = Runner(arguments.suites)
    run_all(runner)
    totals = runner.totals()
    if arguments.json:
        pathlib.Path(arguments.json).write_text(json.dumps(runner.report(), indent=2) + "\n", encoding="utf-8")
    skipped = f", {totals['skipped']} skipped" if totals["skipped"] else ""
    print(f"{totals['passed']} passed, {totals['failed']} failed{skipped}")
    return 1 if totals["failed"] else 0


if __name__ == "__main__":
    sys.exit(main())
