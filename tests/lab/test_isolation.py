# SPDX-License-Identifier: Apache-2.0
"""Two protected VMs between the same hosts. The page stream of one gets stuck, or crawls, in the middle of a checkpoint:
that VM's output waits no longer than docs/operations.md says, and it goes on alone; the other VM and its client notice
nothing."""

import re
import time
import unittest

from twinlab import guest, scenarios
from twinlab.client import longest_gap_ms
from twinlab.gate import GATED_QEMU, Gate
from twinlab.host import LINK_PORT, NEIGHBOUR, VM
from twinlab.lab import Lab, default_build_directory
from twinlab.network import GUEST_ADDRESS, LINK_ADDRESSES, NEIGHBOUR_ADDRESS
from twinlab.system import wait_until

# A checkpoint at least every 800 ms. The guest's load is in pages per second and pages.
TIMING = {"epoch_ms_max": 800, "period_ms": 800}
DIRTY = (2000, 4096)
# VM's mode, how much goes to the port of the page stream, and how long VM's output may wait then. Only a secondary at
# rest is sent more than a socket takes, megabytes, as it has written no page itself.
STUCK = ("periodic", "8bit", 5)
CRAWLING = ("periodic", "1mbit", 10)
CRAWLING_AT_ITS_END = ("colo", "300kbit", 30)
GUEST_TIMEOUT_S = 60
SOLO_TIMEOUT_S = 5
FINISH_TIMEOUT_S = 60
# Of both VMs' streams, before the page stream gets stuck and after its end.
BEFORE_S = 4
AFTER_S = 4
BYTES_PER_SECOND = 400_000
# More than checkpoints of four emulated VMs on two processors cost a client.
ORDINARY_GAP_MS = 800
# A stream that stood still for less was not stuck.
STUCK_GAP_MS = 1000


class IsolationTest(unittest.TestCase):

    def test_a_stuck_page_stream_holds_up_its_own_vm_alone(self):
        self._play(*STUCK)

    def test_a_crawling_page_stream_holds_up_its_own_vm_alone(self):
        self._play(*CRAWLING)

    def test_a_stream_that_crawls_once_all_is_sent_holds_up_its_own_vm_alone(self):
        self._play(*CRAWLING_AT_ITS_END)

    def _play(self, mode, rate, held_s_max):
        with Lab() as lab:
            try:
                host, port = self._start(lab, mode)
                streams = self._stream(lab, BEFORE_S + held_s_max + AFTER_S)
                window_ns, seen = self._stick(lab, host, port, rate, held_s_max)
                reports = {name: stream.report(FINISH_TIMEOUT_S) for name, stream in streams.items()}
                self._check_host(window_ns, seen)
                self._check_clients(window_ns, reports, held_s_max)
            except BaseException:
                lab.save_logs(f"{default_build_directory()}/lab-logs/{self.id().rsplit('.', 1)[-1]}")
                raise

    @staticmethod
    def _start(lab, mode):
        """Both VMs run on a and are protected, VM in this mode. Returns the host, and the port of b to which VM's pages go."""
        hosts = lab.twinstep_hosts()
        for host in hosts.values():
            host.start(lab.image, DIRTY, {"qemu": GATED_QEMU}, TIMING, neighbour=True)
        for address in (GUEST_ADDRESS, NEIGHBOUR_ADDRESS):
            wait_until(lambda address=address: guest.answers(lab.network.client, address), GUEST_TIMEOUT_S,
                       f"the guest at {address} answers")
        scenarios.protect(hosts, print)
        connections = hosts["a"].namespace.run("ss", "-Htn", "state", "established", "dst", LINK_ADDRESSES["b"].ip)
        (port,) = set(re.findall(r":(\d+)\s*$", connections, re.MULTILINE)) - {str(LINK_PORT)}
        scenarios.protect(hosts, print, vm=NEIGHBOUR)
        hosts["a"].control("vm", "mode", "name", VM, mode)
        return hosts["a"], port

    @staticmethod
    def _stream(lab, seconds):
        return {name: lab.client_program("stream", "--seconds", seconds, "--bytes-per-second", BYTES_PER_SECOND,
                                         address=address)
                for name, address in ((VM, GUEST_ADDRESS), (NEIGHBOUR, NEIGHBOUR_ADDRESS))}

    def _stick(self, lab, host, port, rate, held_s_max):
        """From the end of a checkpoint's pause on its pages get nearly nowhere, until VM is solo. Returns from when to
        when that was, and what was seen of both VMs then."""
        gate = Gate(host)
        time.sleep(BEFORE_S)
        gate.arm("cont", "request")
        gate.wait_held()
        lab.network.limit_port("a", port, rate)
        before = self._look(host)
        begin_ns = lab.client_now_ns()
        gate.go()
        host.wait_for_state(("solo",), held_s_max + SOLO_TIMEOUT_S)
        end_ns = lab.client_now_ns()
        after = self._look(host)
        print(f"{VM} is solo after {(end_ns - begin_ns) / 1e9:.1f} s: {host.vm()['last_reason']}", flush=True)
        gate.close()
        return (begin_ns, end_ns), (before, after)

    @staticmethod
    def _look(host):
        """What the guest in VM has counted of its own seconds, and the neighbour as its host shows it."""
        console = host.serial_log.read_text(encoding="utf-8", errors="replace")
        return int(re.findall(r"tick (\d+)", console)[-1]), host.vm(NEIGHBOUR)

    def _check_host(self, window_ns, seen):
        (ticks_before, before), (ticks_after, after) = seen
        seconds = int((window_ns[1] - window_ns[0]) / 1e9)
        self.assertGreaterEqual(ticks_after - ticks_before, seconds - 1, f"{VM} itself must run on")
        self.assertEqual(after["state"], "protected")
        self.assertGreaterEqual(after["checkpoints"] - before["checkpoints"], seconds)

    def _check_clients(self, window_ns, reports, held_s_max):
        for name, report in reports.items():
            self.assertEqual((report["failure"], report["bytes_wrong"], report["connections_reset"]), ("none", 0, 0), name)
            self.assertEqual(report["bytes"], report["bytes_expected"], name)
        gaps_ms = {name: longest_gap_ms(report, *window_ns) for name, report in reports.items()}
        print("longest gaps meanwhile, ms:", gaps_ms, flush=True)
        self.assertLess(gaps_ms[NEIGHBOUR], ORDINARY_GAP_MS)
        self.assertGreater(gaps_ms[VM], STUCK_GAP_MS)
        self.assertLess(gaps_ms[VM], 1000 * held_s_max + ORDINARY_GAP_MS)


if __name__ == "__main__":
    unittest.main()
