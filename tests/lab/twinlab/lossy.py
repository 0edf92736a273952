# SPDX-License-Identifier: Apache-2.0
"""Losses, duplicates and disorder on the clients' side and on the link."""

import json
import signal
import subprocess

from twinlab.system import LabError

END_TIMEOUT_S = 10


class LossyPorts:
    """twinstep-lab-lossy on some ports of one namespace: what leaves by them is lossy until stop()."""

    def __init__(self, namespace, binary, ports, seed):
        self._process = namespace.start(binary, "--seed", seed, *ports, stdout=subprocess.PIPE,
                                        stderr=subprocess.PIPE, text=True)
        if self._process.stdout.readline().strip() != "ready":
            raise LabError(f"twinstep-lab-lossy: {self._process.stderr.read().strip()}")

    def stop(self):
        """Returns what was done to frames. Nothing more of it happens afterwards, to what the delay line holds either."""
        self._process.send_signal(signal.SIGTERM)
        output, _ = self._process.communicate(timeout=END_TIMEOUT_S)
        return json.loads(output.splitlines()[-1])


def make_lossy(lab, seed):
    """Both sides of a lab with a wire. Returns the ports of each side by its name."""
    lab.binaries.require(lab.binaries.lossy)
    network = lab.network
    return {
        "clients": LossyPorts(network.switch, lab.binaries.lossy, ["to-client", "to-a", "to-b"], seed),
        "link": LossyPorts(network.wire, lab.binaries.lossy, ["wire-a", "wire-b"], seed + 1),
    }
