# SPDX-License-Identifier: Apache-2.0
"""End to end: one host dies at a known point of a checkpoint. The client of the survivor sees no wrong byte and no reset."""

import time
import unittest

from twinlab import checkpoint_points, scenarios
from twinlab.checkpoint_points import Setup
from twinlab.lab import Lab, default_build_directory
from twinlab.system import wait_until

STREAM_SECONDS = 8
SURVIVE_TIMEOUT_S = 25


class CheckpointFaults(unittest.TestCase):

    def _play(self, point, victim, small_buffers=False, mode="colo"):
        survivor = "b" if victim == "a" else "a"
        name = f"{victim}-{point.__name__}-{mode}"
        with Lab() as lab:
            try:
                setup = Setup(lab, small_buffers, mode)
                traffic = scenarios.Traffic(lab, STREAM_SECONDS)
                time.sleep(0.5)
                let_go = point(setup)
                print(f"{name}: reached", flush=True)
                setup.kill(victim)
                let_go(survivor)
                wait_until(setup.hosts[survivor].owns_vm, SURVIVE_TIMEOUT_S, f"host {survivor} owns the VM")
                wait_until(lambda: setup.hosts[survivor].state() == "solo", SURVIVE_TIMEOUT_S, "the survivor is solo")
                reports = traffic.finish()
                setup.close()
                self._check(reports)
            except BaseException:
                lab.save_logs(f"{default_build_directory()}/lab-logs/test-checkpoint-faults-{name}")
                raise

    def _check(self, reports):
        stream, requests = reports["stream"], reports["requests"]
        self.assertEqual((stream["failure"], stream["bytes_wrong"], stream["connections_reset"]), ("none", 0, 0))
        self.assertEqual(stream["bytes"], stream["bytes_expected"])
        self.assertEqual((requests["bytes_wrong"], requests["connections_reset"], requests["requests_failed"]),
                         (0, 0, 0))

    def test_primary_dies_before_the_stop(self):
        self._play(checkpoint_points.before_stop, "a")

    def test_primary_dies_in_the_save(self):
        self._play(checkpoint_points.mid_save, "a")

    def test_primary_dies_in_the_stream(self):
        self._play(checkpoint_points.mid_stream, "a", True)

    def test_primary_dies_before_the_acknowledgement(self):
        self._play(checkpoint_points.before_acknowledgement, "a")

    def test_primary_dies_after_the_acknowledgement(self):
        self._play(checkpoint_points.after_acknowledgement, "a")

    def test_secondary_dies_before_the_stop(self):
        self._play(checkpoint_points.before_stop, "b")

    def test_secondary_dies_in_the_save(self):
        self._play(checkpoint_points.mid_save, "b")

    def test_secondary_dies_in_the_stream(self):
        self._play(checkpoint_points.mid_stream, "b", True)

    def test_secondary_dies_before_the_acknowledgement(self):
        self._play(checkpoint_points.before_acknowledgement, "b")

    def test_secondary_dies_after_the_acknowledgement(self):
        self._play(checkpoint_points.after_acknowledgement, "b")

    def test_primary_dies_in_the_stream_while_the_secondary_rests(self):
        self._play(checkpoint_points.mid_stream, "a", True, "periodic")


if __name__ == "__main__":
    unittest.main()
