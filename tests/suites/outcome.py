# SPDX-License-Identifier: Apache-2.0
"""What a suite of tests came to, and running its programs with a limit."""

import dataclasses
import subprocess


@dataclasses.dataclass
class Outcome:
    """Counts of one suite. `details` is shown when something failed."""

    passed: int = 0
    failed: int = 0
    skipped: list = dataclasses.field(default_factory=list)  # reasons, one for each
    details: str = ""


def run_command(command, timeout_s, **options):
    """(exit code, output). A program that takes longer is killed and gives the code None."""
    try:
        done = subprocess.run([str(word) for word in command], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True, errors="replace", timeout=timeout_s, check=False,
                              **options)
        return done.returncode, done.stdout
    except subprocess.TimeoutExpired as expired:
        output = expired.stdout or b""
        text = output if isinstance(output, str) else output.decode(errors="replace")
        return None, f"{text}\nno end after {timeout_s} s"


def check_command(command, timeout_s, **options):
    """A suite that is one command: it passes when that exits with 0."""
    code, output = run_command(command, timeout_s, **options)
    return Outcome(passed=1) if code == 0 else Outcome(failed=1, details=output)
