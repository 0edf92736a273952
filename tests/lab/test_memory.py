# SPDX-License-Identifier: Apache-2.0
"""The memory plane as the daemons use it: all memory compared at each checkpoint, a synchronisation seen and cancelled."""

import json
import socket
import statistics
import time
import unittest

from twinlab import scenarios
from twinlab.host import VM
from twinlab.lab import Lab
from twinlab.network import GUEST_ADDRESS
from twinlab.system import LabError, wait_until

TIMEOUT_S = 30
LOAD = (2000, 4000)
RETRY_TIMEOUT_S = 120
# Of a guest with 256 MiB, at each checkpoint with memory.verify.
CHECKSUM_BYTES = 8 * 65536
# Pages a second, in how many pages: what a checkpoint of 8 MiB can't carry, and what fills 32 MiB within seconds.
BEYOND_BOUND = (60_000, 30_000)
BELOW_BOUND = (4000, 20_000)
# A monitor of the operator's own. The name is one in each host's network namespace.
MONITOR = "twinstep-operator"
UNCOVERED = {"driver": "bochs-display", "bus": "pci.0"}


def quiet(_text):
    pass


def set_load(lab, pages_per_second, pages):
    url = f"http://{GUEST_ADDRESS.ip}/dirty/{pages_per_second}/{pages}"
    lab.network.client.run("curl", "-sf", "-m", TIMEOUT_S, url, timeout_s=TIMEOUT_S + 5)


def log_of(host):
    return host.log.read_text(encoding="utf-8")


def pressure(host):
    return host.vm()["checkpoints_by_cause"].get("pressure", 0)


def plug_device(host, device):
    """As an operator would, behind Twinstep's back."""
    with host.namespace.entered():
        monitor = socket.socket(socket.AF_UNIX)
    monitor.settimeout(TIMEOUT_S)
    with monitor, monitor.makefile("rw", encoding="utf-8") as lines:
        monitor.connect(f"\0{MONITOR}")
        lines.readline()
        for command in ({"execute": "qmp_capabilities"}, {"execute": "device_add", "arguments": device}):
            lines.write(json.dumps(command) + "\n")
            lines.flush()
            if "return" not in (answer := json.loads(lines.readline())):
                raise LabError(f"QEMU took no device: {answer}")


def checkpoints_after(host, count):
    """The next `count` checkpoints that are over."""
    last = host.control("checkpoint", "show")[-1]["epoch"]

    def over():
        return [entry for entry in host.control("checkpoint", "show") if entry["epoch"] > last and "apply_ns" in entry]

    wait_until(lambda: len(over()) >= count, TIMEOUT_S, f"{count} checkpoints")
    return over()[:count]


def bytes_per_page(checkpoints):
    """Without the checksums of all pages."""
    sent = sum(entry["bytes_sent"] - CHECKSUM_BYTES for entry in checkpoints)
    return sent / max(1, sum(entry["pages_sent"] for entry in checkpoints))


def summary(checkpoints):
    commit_ms = statistics.median(entry["commit_ns"] for entry in checkpoints) / 1e6
    return f"{bytes_per_page(checkpoints):.0f} bytes a page, commit {commit_ms:.1f} ms"


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

    def test_a_set_beyond_the_bound_is_synchronised_anew_until_it_fits(self):
        with Lab() as lab:
            hosts = scenarios.start_solo(lab, quiet, memory={"epoch_bytes_max": "8M", "verify": True})
            scenarios.protect(hosts, quiet)
            set_load(lab, *BEYOND_BOUND)
            wait_until(lambda: "attempt 2" in log_of(hosts["a"]), RETRY_TIMEOUT_S, "a second attempt at protecting again")
            self.assertIn("is beyond epoch_bytes_max", log_of(hosts["a"]))
            wait_until(lambda: hosts["a"].vm().get("protect_attempt", 0) > 1, TIMEOUT_S, "the attempt shown")
            set_load(lab, 0, 0)
            hosts["a"].wait_for_state(("protected",), RETRY_TIMEOUT_S)
            verified = hosts["a"].vm().get("checkpoints_verified", 0)
            wait_until(lambda: hosts["a"].vm()["checkpoints_verified"] > verified + 1, TIMEOUT_S, "further checkpoints")
            self.assertNotIn("protect_attempt", hosts["a"].vm())
            self.assertNotIn("differs from the primary's", log_of(hosts["a"]))

    def test_a_device_that_came_meanwhile_ends_the_attempts_by_its_name(self):
        with Lab() as lab:
            lab.image.more_args = ("-machine", "pc", "-qmp", f"unix:{MONITOR},abstract=on,server=on,wait=off")
            hosts = scenarios.start_solo(lab, quiet, memory={"epoch_bytes_max": "8M"})
            scenarios.protect(hosts, quiet)
            set_load(lab, *BEYOND_BOUND)
            wait_until(lambda: "attempt 2" in log_of(hosts["a"]), RETRY_TIMEOUT_S, "a second attempt at protecting again")
            plug_device(hosts["a"], UNCOVERED)
            wait_until(lambda: "bochs-display" in hosts["a"].vm().get("last_reason", ""), RETRY_TIMEOUT_S, "a refusal")

    def test_the_bound_is_watched_without_sending_ahead_and_while_the_svm_rests(self):
        with Lab() as lab:
            hosts = scenarios.start_solo(lab, quiet, BELOW_BOUND, timing={"epoch_ms_max": 600_000},
                                         memory={"epoch_bytes_max": "32M", "ahead_ms": 0})
            scenarios.protect(hosts, quiet)
            for mode in ("colo", "periodic"):
                hosts["a"].control("vm", "mode", "name", VM, mode)
                wait_until(lambda mode=mode: hosts["a"].vm().get("mode_effective") == mode, TIMEOUT_S, mode)
                before = pressure(hosts["a"])
                wait_until(lambda before=before: pressure(hosts["a"]) >= before + 2, TIMEOUT_S, f"pressure in {mode}")
            self.assertNotIn("is beyond epoch_bytes_max", log_of(hosts["a"]))

    def test_pages_are_compressed_while_the_link_is_slow(self):
        with Lab() as lab:
            hosts = scenarios.start_solo(lab, quiet, LOAD, timing={"epoch_ms_max": 300}, memory={"verify": True})
            scenarios.protect(hosts, quiet)
            fast = checkpoints_after(hosts["a"], 5)
            self.assertEqual(hosts["a"].vm()["page_codec"], "none")
            self.assertGreater(bytes_per_page(fast), 4096)
            lab.network.limit_link("a", "100mbit")
            wait_until(lambda: hosts["a"].vm()["page_codec"] == "lz4", TIMEOUT_S, "compressed pages")
            slow = checkpoints_after(hosts["a"], 5)
            print("fast link", summary(fast), "slow link", summary(slow), flush=True)
            self.assertLess(bytes_per_page(slow), 2048)
            self.assertEqual(hosts["a"].state(), "protected")
            lab.network.unlimit_link("a")
            wait_until(lambda: hosts["a"].vm()["page_codec"] == "none", TIMEOUT_S, "pages as they are")

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
