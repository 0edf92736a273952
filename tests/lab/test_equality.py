# SPDX-License-Identifier: Apache-2.0
"""All memory is equal after each commit, while the guest writes memory and clients use it in every way. `./test equality`
does the same with a thousand checkpoints."""

import contextlib
import json
import os
import pathlib
import time
import unittest

from twinlab import mixed_load, scenarios
from twinlab.lab import Lab, default_build_directory

# Of a VM with ordinary memory; one with huge pages does a fifth of it. The long group sets it.
CHECKPOINTS = int(os.environ.get("TWINSTEP_EQUAL_CHECKPOINTS", 50))
SECONDS_PER_CHECKPOINT_MAX = 1.5
STARTING_S = 60
# Pages a second, in how many pages.
DIRTY = (3000, 12_000)
EPOCH_MS_MAX = 200
HUGE_PAGES_RESERVE = pathlib.Path("/proc/sys/vm/nr_hugepages")
# Two guests of 256 MiB.
HUGE_PAGES = 256


@contextlib.contextmanager
def reserved_huge_pages():
    before = int(HUGE_PAGES_RESERVE.read_text(encoding="ascii"))
    HUGE_PAGES_RESERVE.write_text(str(before + HUGE_PAGES), encoding="ascii")
    try:
        if int(HUGE_PAGES_RESERVE.read_text(encoding="ascii")) < before + HUGE_PAGES:
            raise unittest.SkipTest(f"this machine can't spare {HUGE_PAGES} huge pages")
        yield
    finally:
        HUGE_PAGES_RESERVE.write_text(str(before), encoding="ascii")


class EqualityTest(unittest.TestCase):

    def test_memories_are_equal_under_mixed_load(self):
        self._compare(CHECKPOINTS, {})

    def test_memories_on_huge_pages_are_equal_under_mixed_load(self):
        with reserved_huge_pages():
            self._compare(CHECKPOINTS // 5, {"huge_pages": True})

    def _compare(self, checkpoints, vm_settings):
        seconds_max = STARTING_S + checkpoints * SECONDS_PER_CHECKPOINT_MAX
        with Lab() as lab:
            try:
                hosts = scenarios.start_protected_pair(lab, print, DIRTY, vm_settings, {"epoch_ms_max": EPOCH_MS_MAX},
                                                       {"verify": True})
                load = mixed_load.MixedLoad(lab, int(seconds_max))
                result = self._count(hosts, checkpoints, seconds_max)
                reports = load.finish()
                result["work"] = {name: mixed_load.work_done(report) for name, report in reports.items()}
                print(json.dumps(result), flush=True)
                self.assertEqual(mixed_load.problems(reports), [])
            except BaseException:
                lab.save_logs(f"{default_build_directory()}/lab-logs/test-equality")
                raise

    def _count(self, hosts, checkpoints, seconds_max):
        begin = time.monotonic()
        first = hosts["b"].vm().get("checkpoints_verified", 0)
        # A difference ends the protection, and is then the reason.
        while (verified := hosts["b"].vm().get("checkpoints_verified", 0) - first) < checkpoints:
            vm = hosts["a"].vm()
            self.assertEqual(vm["state"], "protected", vm.get("last_reason"))
            self.assertLess(time.monotonic() - begin, seconds_max, f"{verified} of {checkpoints} checkpoints compared")
            time.sleep(0.5)
        vm = hosts["a"].vm()
        return {"compared": verified, "seconds": round(time.monotonic() - begin, 1), "pages_sent": vm["pages_sent"],
                "checkpoints_by_cause": vm["checkpoints_by_cause"]}


if __name__ == "__main__":
    unittest.main()
