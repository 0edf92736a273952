# SPDX-License-Identifier: Apache-2.0
"""Running commands and waiting, always with a limit."""

import contextlib
import os
import signal
import subprocess
import time

COMMAND_TIMEOUT_S = 30
POLL_INTERVAL_S = 0.05
GROUP_END_S = 10
# Characters of a failed command's output, from its end.
OUTPUT_SHOWN = 2000


class LabError(Exception):
    """Something the lab needs is missing or did not happen in time. The text is for the user."""


def run(*command, timeout_s=COMMAND_TIMEOUT_S, check=True):
    """Runs a command and returns its standard output; a failure becomes a LabError with what it said."""
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=timeout_s,
                              check=False)
    except FileNotFoundError:
        raise LabError(f"{command[0]} is missing: run tests/install-deps") from None
    except subprocess.TimeoutExpired:
        raise LabError(f"no end after {timeout_s} s: {' '.join(command)}") from None
    if check and done.returncode != 0:
        raise LabError(f"{' '.join(command)}: {(done.stderr or done.stdout).strip()}")
    return done.stdout


def run_group(*command, timeout_s, **options):
    """As run(), for a command that starts others: when it fails, or is cut short, or this process dies, they end too."""
    process = subprocess.Popen(["setpriv", "--pdeathsig", "KILL", *command], stdin=subprocess.DEVNULL,
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, errors="replace",
                               start_new_session=True, **options)
    try:
        output, errors = process.communicate(timeout=timeout_s)
    except subprocess.TimeoutExpired:
        raise LabError(f"no end after {timeout_s} s: {' '.join(command)}") from None
    finally:
        _end_group(process)
    if process.returncode != 0:
        raise LabError(f"{' '.join(command)}: {(errors or output)[-OUTPUT_SHOWN:].strip()}")
    return output


def _end_group(leader):
    """SIGTERM first: ninja has its compilers in groups of their own, and ends them on that."""
    deadline = time.monotonic() + GROUP_END_S
    number = signal.SIGTERM
    with contextlib.suppress(ProcessLookupError):
        while True:
            os.killpg(leader.pid, number)
            leader.poll()
            time.sleep(POLL_INTERVAL_S)
            number = signal.SIGKILL if time.monotonic() > deadline else 0
    leader.wait()


def wait_until(condition, timeout_s, what):
    """Polls until condition() is true and returns its value; LabError naming `what` after timeout_s."""
    deadline = time.monotonic() + timeout_s
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() >= deadline:
            raise LabError(f"{what}: not within {timeout_s} s")
        time.sleep(POLL_INTERVAL_S)


def start_time(pid):
    """The process's start in clock ticks since boot; with the pid it names a process for good. None: it has ended."""
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as stat:
            fields = stat.read().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    state, start = fields[0], fields[19]
    return None if state in "ZX" else int(start)


def process_name(pid):
    """The name the kernel shows (15 characters at most), empty when the process is gone."""
    try:
        with open(f"/proc/{pid}/comm", encoding="utf-8", errors="replace") as comm:
            return comm.read().strip()
    except (FileNotFoundError, ProcessLookupError):
        return ""


def kill(pid, number=signal.SIGKILL):
    """Sends a signal; a process that is gone already is no error."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        pass
