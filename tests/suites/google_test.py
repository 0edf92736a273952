# SPDX-License-Identifier: Apache-2.0
"""Running GoogleTest programs and reading their reports."""

import json
import re
import tempfile

from outcome import Outcome, run_command

TIMEOUT_S = 1200

# GTEST_SKIP() << "reason" prints "FILE:LINE: Skipped", the reason, and then the test's closing line.
_SKIP = re.compile(r": Skipped\n(.*?)\n*\[  SKIPPED \] (\S+)", re.DOTALL)
_DETAIL_LINES = 80


def run_google_test(program, environment):
    """Runs all tests of one program. One that crashes or hangs counts as one failed test more."""
    with tempfile.NamedTemporaryFile(suffix=".json") as report_file:
        code, output = run_command([program, f"--gtest_output=json:{report_file.name}"], TIMEOUT_S, env=environment)
        text = report_file.read()
    details = "\n".join(output.splitlines()[-_DETAIL_LINES:])
    if not text:
        return Outcome(failed=1, details=f"exit code {code}, no report\n{details}")
    outcome = _outcome_of(json.loads(text), output)
    if code != 0 and outcome.failed == 0:
        outcome.failed = 1
    if outcome.passed + outcome.failed + len(outcome.skipped) == 0:
        return Outcome(failed=1, details="the program has no tests")
    if outcome.failed:
        outcome.details = f"exit code {code}\n{details}"
    return outcome


def _outcome_of(report, output):
    reasons = {name: reason.strip() for reason, name in _SKIP.findall(output)}
    outcome = Outcome()
    for suite in report["testsuites"]:
        for test in suite["testsuite"]:
            name = f"{suite['name']}.{test['name']}"
            if test.get("failures"):
                outcome.failed += 1
            elif test["result"] == "SKIPPED":
                outcome.skipped.append(f"{name}: {reasons.get(name, 'no reason given')}")
            elif test["status"] == "RUN":
                outcome.passed += 1
    return outcome
