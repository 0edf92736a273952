# SPDX-License-Identifier: Apache-2.0
"""The lab itself: what a killed run left is found and removed, and nothing else is."""

import pathlib
import signal
import subprocess
import sys
import unittest

from twinlab.namespaces import STATE_DIRECTORY, Namespace, remove_leftovers
from twinlab.system import run, start_time, wait_until

# A lab with a guest, which tells its name and waits to be ended from outside.
HOLDER = """
import time
from twinlab.lab import Lab, exit_on_signals
exit_on_signals()
with Lab() as lab:
    lab.plain_hosts()["a"].start_guest(lab.image)
    print(lab.name, flush=True)
    time.sleep(120)
"""


class LabTest(unittest.TestCase):
    """A lab held by another process."""

    def setUp(self):
        self.holder = subprocess.Popen([sys.executable, "-c", HOLDER], stdout=subprocess.PIPE, text=True,
                                       cwd=pathlib.Path(__file__).parent)
        self.addCleanup(self.holder.stdout.close)
        self.addCleanup(self.end_holder)
        self.name = self.holder.stdout.readline().strip()
        self.assertTrue(self.name.startswith("ts-"))
        host = Namespace(f"{self.name}-a")
        self.qemu = wait_until(lambda: host.pids_named("qemu-system-x86_64"), 10, "QEMU runs")[0]
        self.qemu_start = start_time(self.qemu)

    def end_holder(self):
        self.holder.kill()
        self.holder.wait()
        remove_leftovers()

    def assert_nothing_left(self):
        self.assertNotEqual(start_time(self.qemu), self.qemu_start)
        self.assertNotIn(self.name, run("ip", "netns", "list"))
        self.assertEqual(list(STATE_DIRECTORY.glob(f"{self.name}*")), [])

    def test_killed_run_is_cleaned_up_by_the_next(self):
        self.holder.kill()
        self.holder.wait()
        self.assertEqual(start_time(self.qemu), self.qemu_start)
        self.assertIn(self.name, remove_leftovers())
        self.assert_nothing_left()

    def test_sigterm_removes_the_lab(self):
        self.holder.send_signal(signal.SIGTERM)
        self.assertEqual(self.holder.wait(20), 128 + signal.SIGTERM)
        self.assert_nothing_left()

    def test_ctrl_c_removes_the_lab(self):
        self.holder.send_signal(signal.SIGINT)
        self.assertEqual(self.holder.wait(20), 128 + signal.SIGINT)
        self.assert_nothing_left()

    def test_lab_in_use_is_left_alone(self):
        self.assertNotIn(self.name, remove_leftovers())
        self.assertEqual(start_time(self.qemu), self.qemu_start)


if __name__ == "__main__":
    unittest.main()
