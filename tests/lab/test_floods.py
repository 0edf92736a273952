# SPDX-License-Identifier: Apache-2.0
"""A flood from outside: a client's stream goes on, its connection survives the loss of the host, checkpoints are few."""

import pathlib
import subprocess
import sys
import unittest

from twinlab import faults, scenarios
from twinlab.lab import Lab, default_build_directory
from twinlab.network import GUEST_ADDRESS, GUEST_MAC
from twinlab.system import wait_until

FLOODER = pathlib.Path(__file__).with_name("flooder.py")
KINDS = ("syn", "ack", "udp", "closed")
PER_SECOND = 2000
FLOOD_SECONDS = 6
STREAM_SECONDS = len(KINDS) * FLOOD_SECONDS + 8
# What frames that a network may lose can ask for: 10 at once and 2 in a second, and what the stream and time cost.
CHECKPOINTS_MAX = 10 + 2 * FLOOD_SECONDS + 8
FINISH_TIMEOUT_S = 60
TAKEOVER_TIMEOUT_S = 30


class FloodsTest(unittest.TestCase):

    def test_stream_survives_floods_and_then_the_host(self):
        with Lab() as lab:
            try:
                self._flood(lab)
            except BaseException:
                lab.save_logs(f"{default_build_directory()}/lab-logs/test-floods")
                raise

    def _flood(self, lab):
        hosts = scenarios.start_protected_pair(lab, print)
        stream = lab.client_program("stream", "--seconds", STREAM_SECONDS, "--bytes-per-second", 1_000_000)
        for kind in KINDS:
            with self.subTest(kind):
                self._flood_once(lab, hosts["a"], kind)
        faults.lose_host(lab, hosts["a"])
        wait_until(hosts["b"].owns_vm, TAKEOVER_TIMEOUT_S, "host b owns the VM")
        report = stream.report(FINISH_TIMEOUT_S)
        self.assertEqual((report["failure"], report["bytes_wrong"], report["connections_reset"]), ("none", 0, 0))

    def _flood_once(self, lab, host, kind):
        before, nic_before = host.vm(), host.control("nic", "show")[0]
        flooder = lab.network.client.start(sys.executable, FLOODER, kind, "client0", str(GUEST_ADDRESS.ip), GUEST_MAC,
                                           PER_SECOND, FLOOD_SECONDS, stdout=subprocess.PIPE, text=True)
        sent, _ = flooder.communicate(timeout=FLOOD_SECONDS + 20)
        after, nic = host.vm(), host.control("nic", "show")[0]
        checkpoints = after["checkpoints"] - before["checkpoints"]
        answers = nic["frames_in"] - nic_before["frames_in"]
        print(f"{kind}: {sent.strip()} sent, {answers} frames of the guest, {checkpoints} checkpoints "
              f"{after['checkpoints_by_cause']}, {nic['flows']} flows, {nic['flows_half_open']} half-open, "
              f"{nic['frames_expended']} expended", flush=True)
        self.assertEqual(after["state"], "protected")
        self.assertLessEqual(checkpoints, CHECKPOINTS_MAX)
        self.assertGreaterEqual(int(sent), PER_SECOND * FLOOD_SECONDS / 4, "too little for a flood")
        if kind in ("syn", "ack"):
            self.assertGreater(nic["flows_half_open"], 1000, "the guest must have answered")


if __name__ == "__main__":
    unittest.main()
