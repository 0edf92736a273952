# SPDX-License-Identifier: Apache-2.0
"""A guest whose NIC offers checksum and segmentation offloads: whole frames and right checksums reach the client."""

import json
import unittest

from twinlab import scenarios
from twinlab.lab import Lab, default_build_directory
from twinlab.system import wait_until

BYTES = 30_000_000
GUEST = "http://10.77.0.10"
SEGMENT_BYTES_MAX = 1460
START_TIMEOUT_S = 20


def checksum_errors(namespace):
    """What the kernel there has dropped for a wrong checksum, of any protocol."""
    lines = namespace.run("cat", "/proc/net/snmp").splitlines()
    total = 0
    for names, values in zip(lines[::2], lines[1::2]):
        total += sum(int(value) for name, value in zip(names.split(), values.split()) if name.endswith("CsumErrors"))
    return total


def received(namespace, device):
    return json.loads(namespace.run("ip", "-s", "-j", "link", "show", "dev", device))[0]["stats64"]["rx"]["packets"]


class OffloadsTest(unittest.TestCase):

    def run_in_lab(self, play):
        with Lab() as lab:
            try:
                play(lab)
            except BaseException:
                lab.save_logs(f"{default_build_directory()}/lab-logs/{self.id().rsplit('.', 1)[-1]}")
                raise

    def test_client_gets_right_checksums_only(self):
        self.run_in_lab(lambda lab: self._download(lab, "on"))

    def test_the_fallback_carries_the_same(self):
        self.run_in_lab(lambda lab: self._download(lab, "off"))

    def _download(self, lab, offloads):
        hosts = scenarios.start_protected_pair(lab, print, nics=[{"guest_offloads": offloads}])
        nic = hosts["a"].control("nic", "show")[0]
        self.assertEqual(nic["guest_offloads"], offloads)
        before = received(lab.network.hosts["a"], nic["tap"])
        echo = lab.client_program("udp", "--seconds", 3)
        size = lab.network.client.run("curl", "-s", "-f", "-m", "60", "-o", "/dev/null", "-w", "%{size_download}",
                                      f"{GUEST}/bytes/{BYTES}?seed=1", timeout_s=70)
        datagrams = echo.report()
        self.assertEqual(int(size), BYTES)
        self.assertEqual(datagrams["wrong"], 0)
        self.assertGreater(datagrams["sent"], datagrams["lost"])
        self.assertEqual(checksum_errors(lab.network.client), 0)
        packets = received(lab.network.hosts["a"], nic["tap"]) - before
        segments = BYTES // SEGMENT_BYTES_MAX
        if offloads == "on":
            self.assertLess(packets, segments / 4, "the guest must have left the segmentation to the host")
        else:
            self.assertGreaterEqual(packets, segments)

    def test_a_host_that_cannot_says_so_and_is_refused(self):
        self.run_in_lab(self._one_host_falls_back)

    def _one_host_falls_back(self, lab):
        hosts = lab.twinstep_hosts()
        hosts["a"].start(lab.image)
        wait_until(lambda: hosts["a"].control("nic", "show"), START_TIMEOUT_S, "host a shows its NIC")
        tap = hosts["a"].control("nic", "show")[0]["tap"]
        # A device in the way of the pair that the secondary would make.
        lab.network.hosts["b"].run("ip", "link", "add", f"{tap}-o", "type", "bridge")
        hosts["b"].start(lab.image)
        wait_until(lambda: hosts["a"].is_refused("guest_offloads of NIC 0 of web is on there and off here"),
                   START_TIMEOUT_S, "host b refuses to stand by")
        self.assertIn("guest_offloads", hosts["a"].log.read_text(encoding="utf-8"))
        self.assertIn("offers no checksum and segmentation offloads", hosts["b"].log.read_text(encoding="utf-8"))


if __name__ == "__main__":
    unittest.main()
