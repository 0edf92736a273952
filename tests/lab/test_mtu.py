# SPDX-License-Identifier: Apache-2.0
"""Frames larger than Ethernet's, as large as one page allows, and what is refused."""

import json
import unittest

from twinlab import faults, scenarios
from twinlab.lab import Lab, default_build_directory
from twinlab.system import wait_until

MTU = 3400
BYTES = 20_000_000
IP_UDP_BYTES = 28
GUEST = "http://10.77.0.10"
START_TIMEOUT_S = 20


class MtuTest(unittest.TestCase):

    def run_in_lab(self, mtu, play):
        with Lab() as lab:
            lab.network.set_mtu(mtu)
            try:
                play(lab)
            except BaseException:
                lab.save_logs(f"{default_build_directory()}/lab-logs/{self.id().rsplit('.', 1)[-1]}")
                raise

    def test_large_frames_survive_the_host(self):
        self.run_in_lab(MTU, self._transfer)

    def _transfer(self, lab):
        hosts = scenarios.start_protected_pair(lab, print)
        echo = lab.client_program("udp", "--seconds", 2, "--bytes", MTU - IP_UDP_BYTES)
        before = self._sent(lab)
        size = lab.network.client.run("curl", "-s", "-f", "-m", "60", "-o", "/dev/null", "-w", "%{size_download}",
                                      f"{GUEST}/bytes/{BYTES}?seed=1", timeout_s=70)
        self.assertEqual(int(size), BYTES)
        after = self._sent(lab)
        frame_bytes = (after["bytes"] - before["bytes"]) / (after["packets"] - before["packets"])
        self.assertGreater(frame_bytes, 0.9 * MTU, "the guest must have filled its frames")
        datagrams = echo.report()
        self.assertEqual(datagrams["wrong"], 0)
        self.assertLess(datagrams["lost"], datagrams["sent"] / 2)
        self.assertEqual(hosts["a"].control("nic", "show")[0]["xdp"]["tap_error"], 0)

        stream = lab.client_program("stream", "--seconds", 8, "--bytes-per-second", 2_000_000)
        faults.lose_host(lab, hosts["a"])
        wait_until(hosts["b"].owns_vm, START_TIMEOUT_S, "host b owns the VM")
        report = stream.report(60)
        self.assertEqual((report["failure"], report["bytes_wrong"]), ("none", 0))

    @staticmethod
    def _sent(lab):
        shown = json.loads(lab.network.hosts["a"].run("ip", "-s", "-j", "link", "show", "dev", "up-a"))
        return shown[0]["stats64"]["tx"]

    def test_what_needs_several_buffers_is_refused(self):
        self.run_in_lab(9000, self._refuse)

    def _refuse(self, lab):
        hosts = lab.twinstep_hosts()
        hosts["a"].start(lab.image)
        wait_until(lambda: "XDP_USE_SG" in hosts["a"].log.read_text(encoding="utf-8"), START_TIMEOUT_S,
                   "host a says why it can't")
        self.assertIn("ip link set up-a mtu 3400", hosts["a"].log.read_text(encoding="utf-8"))


if __name__ == "__main__":
    unittest.main()
