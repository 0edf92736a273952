# SPDX-License-Identifier: Apache-2.0
"""End to end: a guest under load is protected, its host is lost, and the client notices nothing."""

import random
import unittest

from twinlab import report, scenarios
from twinlab.lab import Lab, default_build_directory


class ProtectTest(unittest.TestCase):
    """One short play of the demo's first scenario."""

    def test_client_loses_nothing_when_the_host_is_lost(self):
        rng = random.Random()
        with Lab() as lab:
            try:
                result = {"run": 1} | scenarios.play(lab, "host_loss", rng, print, stream_seconds=20)
                self.assertEqual(report.missed_goals(result), [])
                self.assertGreater(result["checkpoints"], 0)
            except BaseException:
                lab.save_logs(f"{default_build_directory()}/lab-logs/test-protect")
                raise


if __name__ == "__main__":
    unittest.main()
