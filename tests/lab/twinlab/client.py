# SPDX-License-Identifier: Apache-2.0
"""The programs on the client: they run in the background and give their reports when they end."""

import json
import signal
import subprocess

from twinlab.network import GUEST_ADDRESS
from twinlab.system import LabError

# A fetch gives up after 30 s without progress.
REPORT_TIMEOUT_S = 45


class ClientProgram:
    """One run of twinstep-lab-client."""

    def __init__(self, namespace, binary, *arguments, address=GUEST_ADDRESS):
        self.name = arguments[0]
        self._process = namespace.start(binary, *arguments, "--host", address.ip, stdout=subprocess.PIPE,
                                        stderr=subprocess.PIPE, text=True)

    def running(self):
        return self._process.poll() is None

    def stop(self):
        """Asks it to end what it has begun and report."""
        if self.running():
            self._process.send_signal(signal.SIGTERM)

    def report(self, timeout_s=REPORT_TIMEOUT_S):
        try:
            output, errors = self._process.communicate(timeout=timeout_s)
        except subprocess.TimeoutExpired:
            raise LabError(f"the client's {self.name} gave no report within {timeout_s} s") from None
        if self._process.returncode != 0:
            raise LabError(f"the client's {self.name} failed: {errors.strip()}")
        return json.loads(output)


def longest_gap_ms(report, from_ns, to_ns):
    """The longest listed silence that overlaps the window, in milliseconds; 0 when none does."""
    inside = [gap for gap in report["gaps"] if gap["end_ns"] > from_ns and gap["start_ns"] < to_ns]
    return max(((gap["end_ns"] - gap["start_ns"]) / 1e6 for gap in inside), default=0.0)
