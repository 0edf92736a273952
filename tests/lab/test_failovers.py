# SPDX-License-Identifier: Apache-2.0
"""End to end: connections outlive one failover after the other, with the VM protected again in between."""

import json
import time
import unittest

from twinlab import mixed_load, scenarios
from twinlab.lab import Lab, default_build_directory

FAULTS = ("crash", "operator", "crash", "crash")
PROTECTED_S = 3
# Long enough for connections to open, too short for a checkpoint to make their numbers equal, as a rule.
OPENED_BEFORE_S = 0.5
LOAD_SECONDS_MAX = 300


class FailoversTest(unittest.TestCase):
    """a -> b -> a -> b -> a under every kind of traffic."""

    def test_connections_outlive_failovers_with_protection_between(self):
        with Lab() as lab:
            try:
                self._play(lab)
            except BaseException:
                lab.save_logs(f"{default_build_directory()}/lab-logs/test-failovers")
                raise

    def _play(self, lab):
        hosts = scenarios.start_protected_pair(lab, print)
        load = mixed_load.MixedLoad(lab, LOAD_SECONDS_MAX)
        owner = "a"
        for how in FAULTS:
            time.sleep(PROTECTED_S)
            load.add_connections()
            time.sleep(OPENED_BEFORE_S)
            owner = scenarios.fail_over(lab, hosts, owner, how, print)
            scenarios.protect(hosts, print, owner)
        time.sleep(PROTECTED_S)
        checkpoints = hosts[owner].vm()["checkpoints_by_cause"]
        reports = load.finish()
        print(json.dumps({name: mixed_load.work_done(report) for name, report in reports.items()}), checkpoints)
        self.assertEqual(mixed_load.problems(reports), [])
        self.assertEqual(owner, "a")
        self.assertGreater(sum(host.connections_translated() for host in hosts.values()), 0)


if __name__ == "__main__":
    unittest.main()
