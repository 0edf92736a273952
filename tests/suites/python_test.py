# SPDX-License-Identifier: Apache-2.0
"""Running one module of Python tests in a process of its own.

As a program: python_test.py MODULE runs the module's tests and prints one JSON object as its last line.
"""

import json
import os
import signal
import subprocess
import sys
import unittest

from outcome import Outcome

TIMEOUT_S = 900
# SIGTERM lets a lab remove itself.
TERMINATE_TIMEOUT_S = 30
_DETAIL_LINES = 80


def run_python_test(module, directory, environment):
    """Runs MODULE of `directory`."""
    command = ["/usr/bin/python3", __file__, module]
    environment = environment | {"PYTHONPATH": f"{directory}:{os.path.dirname(__file__)}", "PYTHONDONTWRITEBYTECODE": "1"}
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          text=True, errors="replace", cwd=directory, env=environment) as process:
        try:
            output, _ = process.communicate(timeout=TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGTERM)
            try:
                output, _ = process.communicate(timeout=TERMINATE_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                process.kill()
                output, _ = process.communicate()
    return _outcome_of(output)


def _outcome_of(output):
    lines = output.splitlines()
    details = "\n".join(lines[-_DETAIL_LINES:])
    try:
        counts = json.loads(lines[-1])
        return Outcome(counts["passed"], counts["failed"], counts["skipped"], details)
    except (IndexError, ValueError, TypeError, KeyError):
        return Outcome(failed=1, details=f"ended without a report\n{details}")


def _run_here(module):
    suite = unittest.defaultTestLoader.loadTestsFromName(module)
    result = unittest.TextTestRunner(verbosity=2).run(suite)
    failed = len(result.failures) + len(result.errors) + len(result.unexpectedSuccesses)
    skipped = [f"{test.id()}: {reason}" for test, reason in result.skipped]
    # An error in a class's set-up is one of `errors` but no test that ran.
    passed = max(result.testsRun - failed - len(skipped), 0)
    print(json.dumps({"passed": passed, "failed": failed, "skipped": skipped}))


if __name__ == "__main__":
    _run_here(sys.argv[1])
