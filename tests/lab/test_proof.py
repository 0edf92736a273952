# SPDX-License-Identifier: Apache-2.0
"""The start-up proof: a VM is not protected over a way that loses its frames without a word."""

import unittest

from twinlab import scenarios
from twinlab.host import VM
from twinlab.lab import Lab, default_build_directory
from twinlab.system import LabError, run

REFUSED_TIMEOUT_S = 30


class ProofTest(unittest.TestCase):

    def in_lab(self, play, wire=False):
        with Lab(wire=wire) as lab:
            try:
                play(lab)
            except BaseException:
                lab.save_logs(f"{default_build_directory()}/lab-logs/{self.id().rsplit('.', 1)[-1]}")
                raise

    def test_a_map_without_the_tap(self):
        self.in_lab(self._lose_the_tap)

    def _lose_the_tap(self, lab):
        hosts = scenarios.start_solo(lab, print)
        run("bpftool", "map", "delete", "id", hosts["a"].bpf_map("ts_taps"), "key", "0", "0", "0", "0")
        with self.assertRaisesRegex(LabError, "no frame of .* from the uplink up-a to the tap"):
            hosts["a"].control("vm", "protect", "name", VM)
        self.assertEqual(hosts["a"].state(), "solo")

    def test_a_link_that_carries_small_frames_only(self):
        self.in_lab(self._narrow_the_link, wire=True)

    def _narrow_the_link(self, lab):
        hosts = scenarios.start_solo(lab, print)
        lab.network.wire.run("ip", "link", "set", "wire-b", "mtu", 1500)
        hosts["a"].control("vm", "protect", "name", VM)
        hosts["a"].wait_for_state(("solo",), REFUSED_TIMEOUT_S)
        self.assertIn("an MTU of 1538", hosts["a"].vm()["last_reason"])

        lab.network.wire.run("ip", "link", "set", "wire-b", "mtu", 1600)
        scenarios.protect(hosts, print)


if __name__ == "__main__":
    unittest.main()
