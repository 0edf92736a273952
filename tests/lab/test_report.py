# SPDX-License-Identifier: Apache-2.0
"""The demo's judgement: a good result misses no goal, and each spoiled field is named."""

import unittest

from twinlab import report

GOOD = {
    "name": "host_loss", "run": 1, "seed": 1, "protected_before": True, "stream_bytes": 50, "stream_bytes_expected": 50,
    "stream_bytes_wrong": 0, "stream_failure": "none", "connections_reset": 0, "requests": 10, "requests_failed": 0,
    "requests_gap_ms": 0.0, "ping_sent": 10, "ping_lost": 0, "gap_ms": 120.0, "gap_ms_max": 120.0, "detect_ms": 40.0,
    "checkpoints": 3, "checkpoints_by_cause": {"request": 3}, "pause_ms_p50": 5.0, "pause_ms_max": 9.0,
    "owner_after": "b",
}  # fmt: skip
SPOILED = {
    "protected_before": False, "stream_bytes": 49, "stream_bytes_wrong": 1, "stream_failure": "reset",
    "connections_reset": 1, "requests": 0, "requests_failed": 1, "owner_after": "both", "gap_ms": 1000.0,
}  # fmt: skip


class ReportTest(unittest.TestCase):
    """missed_goals() and table()."""

    def test_good_result_misses_nothing(self):
        self.assertEqual(report.missed_goals(GOOD), [])

    def test_each_spoiled_field_is_named(self):
        for field, value in SPOILED.items():
            missed = report.missed_goals(GOOD | {field: value})
            self.assertEqual(len(missed), 1, field)
            self.assertIn(f"host_loss run 1: {field} is {value}", missed[0])

    def test_broken_off_scenario_is_a_miss(self):
        broken = {"name": "qemu_crash", "run": 2, "error": "no answer"}
        self.assertEqual(report.missed_goals(broken), ["qemu_crash run 2: no answer"])
        self.assertNotIn("qemu_crash", report.table([GOOD, broken]))

    def test_comparison_has_no_goals(self):
        self.assertEqual(report.missed_goals(GOOD | {"name": "restart", "requests_failed": 5}), [])


if __name__ == "__main__":
    unittest.main()
