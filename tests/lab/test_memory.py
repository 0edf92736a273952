# SPDX-License-Identifier: Apache-2.0
"""The memory plane as the daemons use it: all memory compared at each checkpoint, a synchronisation seen and cancelled."""

import time
import unittest

from twinlab import scenarios
from twinlab.host import VM
from twinlab.lab import Lab
from twinlab.system import LabError, wait_until

TIMEOUT_S = 30
LOAD = (2000, 4000)


def quiet(_text):
    pass


class MemoryTest(unittest.TestCase):

    def test_memories_are_equal_at_each_checkpoint(self):
        with Lab() as lab:
            hosts = scenarios.start_solo(lab, quiet, LOAD, timing={"epoch_ms_max": 300},
                                         memory={"verify": True, "streams": 3})
            scenarios.protect(hosts, quiet)
            self.assertEqual(hosts["a"].vm()["page_streams"], 3)
            self.assertIn(hosts["a"].vm()["page_send"], ("zero-copy", "copied"))
            wait_until(lambda: hosts["b"].vm().get("checkpoints_verified", 0) >= 10, TIMEOUT_S, "compared memories")
            self.assertEqual(hosts["a"].state(), "protected")
            self.assertGreaterEqual(hosts["a"].vm()["checkpoints_verified"], 9)

    def test_a_synchronisation_is_seen_and_cancelled(self):
        # At 20 Mbit/s the guest's memory takes some ten seconds.
        with Lab() as lab:
            hosts = scenarios.start_solo(lab, quiet, LOAD, memory={"copy_mbit_max": 20})
            hosts["a"].control("vm", "protect", "name", VM)
            wait_until(lambda: hosts["a"].vm().get("sync_bytes_per_s", 0) > 0, TIMEOUT_S, "the synchronisation's rate")
            time.sleep(1)
            vm = hosts["a"].vm()
            self.assertEqual(vm["state"], "syncing")
            self.assertLess(vm["sync_bytes_per_s"], 2 * 20e6 / 8)
            self.assertGreater(vm["sync_left_ns"], 0)
            self.assertEqual(vm["sync_round"], 1)
            hosts["a"].control("vm", "cancel", "name", VM)
            self.assertEqual(hosts["a"].state(), "solo")
            self.assertNotIn("sync_round", hosts["a"].vm())
            hosts["b"].wait_for_state(("absent",), TIMEOUT_S)
            with self.assertRaisesRegex(LabError, "no synchronisation to cancel"):
                hosts["a"].control("vm", "cancel", "name", VM)


if __name__ == "__main__":
    unittest.main()
