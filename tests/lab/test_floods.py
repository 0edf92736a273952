# SPDX-License-Identifier: Apache-2.0
"""A flood from outside: a client's stream goes on, its connection survives the loss of the host, checkpoints are few;
and another VM of the host notices nothing."""

import pathlib
import subprocess
import sys
import unittest

from twinlab import faults, guest, scenarios
from twinlab.host import NEIGHBOUR
from twinlab.lab import Lab, default_build_directory
from twinlab.network import GUEST_ADDRESS, GUEST_MAC, NEIGHBOUR_ADDRESS
from twinlab.system import wait_until
from twinlab.traffic import TIMEOUT_S, Stream

FLOODER = pathlib.Path(__file__).with_name("flooder.py")
KINDS = ("syn", "ack", "udp", "closed")
PER_SECOND = 2000
FLOOD_SECONDS = 6
STREAM_SECONDS = len(KINDS) * FLOOD_SECONDS + 8
# What frames that a network may lose can ask for: 10 at once and 2 in a second, and what the stream and time cost.
CHECKPOINTS_MAX = 10 + 2 * FLOOD_SECONDS + 8
# Of its own, on processors that the flood keeps busy.
NEIGHBOURS_CHECKPOINTS_MAX = 2 * FLOOD_SECONDS
START_TIMEOUT_S = 60
FINISH_TIMEOUT_S = 60
TAKEOVER_TIMEOUT_S = 30


def ports_of(host, vm):
    """The clients' ports of the connections that the host knows of a VM."""
    return {flow["peer_port"] for flow in host.control("flow", "show") if flow["vm"] == vm}


class FloodsTest(unittest.TestCase):

    def test_stream_survives_floods_and_then_the_host(self):
        self.run_in_lab(self._flood)

    def test_a_flood_on_one_vm_is_nothing_to_its_neighbour(self):
        self.run_in_lab(self._flood_beside_a_neighbour)

    def run_in_lab(self, play):
        with Lab() as lab:
            try:
                play(lab)
            except BaseException:
                lab.save_logs(f"{default_build_directory()}/lab-logs/{self.id().rsplit('.', 1)[-1]}")
                raise

    def _flood(self, lab):
        hosts = scenarios.start_protected_pair(lab, print)
        stream = lab.client_program("stream", "--seconds", STREAM_SECONDS, "--bytes-per-second", 1_000_000)
        for kind in KINDS:
            with self.subTest(kind):
                self._flood_once(lab, hosts["a"], kind)
        faults.lose_host(lab, hosts["a"])
        wait_until(hosts["b"].owns_vm, TAKEOVER_TIMEOUT_S, "host b owns the VM")
        report = stream.report(FINISH_TIMEOUT_S)
        self.assertEqual((report["failure"], report["bytes_wrong"], report["connections_reset"]), ("none", 0, 0))

    def _flood_beside_a_neighbour(self, lab):
        hosts = lab.twinstep_hosts()
        for host in hosts.values():
            host.start(lab.image, neighbour=True)
        for address in (GUEST_ADDRESS, NEIGHBOUR_ADDRESS):
            wait_until(lambda address=address: guest.answers(lab.network.client, address), START_TIMEOUT_S,
                       f"the guest at {address} answers")
        scenarios.protect(hosts, print)
        scenarios.protect(hosts, print, vm=NEIGHBOUR)
        with lab.network.client.entered():
            streams = [Stream(address, seed) for seed, address in enumerate((GUEST_ADDRESS, NEIGHBOUR_ADDRESS), 1)]
            for stream in streams:
                stream.start()
        wait_until(lambda: ports_of(hosts["a"], NEIGHBOUR), START_TIMEOUT_S, "the neighbour's connection")
        ports, before = ports_of(hosts["a"], NEIGHBOUR), hosts["a"].vm(NEIGHBOUR)
        self._flood_once(lab, hosts["a"], "syn")
        self._check_neighbour(hosts["a"], ports, before)
        for stream in streams:
            stream.join(TIMEOUT_S)
        self.assertEqual([stream.wrong for stream in streams], [None, None])

    def _check_neighbour(self, host, ports, before):
        after, nic = host.vm(NEIGHBOUR), host.nic(NEIGHBOUR)
        checkpoints = after["checkpoints"] - before["checkpoints"]
        print(f"the neighbour: {checkpoints} checkpoints {after['checkpoints_by_cause']}, {nic['flows']} flows, "
              f"{nic['flows_half_open']} half-open", flush=True)
        self.assertEqual(after["state"], "protected")
        self.assertLessEqual(ports, ports_of(host, NEIGHBOUR), "a flow was pushed out")
        self.assertLessEqual(checkpoints, NEIGHBOURS_CHECKPOINTS_MAX)
        self.assertEqual([nic[count] for count in ("frames_expended", "inbound_dropped", "record_frames_lost")], [0, 0, 0])
        self.assertLess(nic["flows_half_open"], 10)

    def _flood_once(self, lab, host, kind):
        before, nic_before = host.vm(), host.nic()
        flooder = lab.network.client.start(sys.executable, FLOODER, kind, "client0", str(GUEST_ADDRESS.ip), GUEST_MAC,
                                           PER_SECOND, FLOOD_SECONDS, stdout=subprocess.PIPE, text=True)
        sent, _ = flooder.communicate(timeout=FLOOD_SECONDS + 20)
        after, nic = host.vm(), host.nic()
        checkpoints = after["checkpoints"] - before["checkpoints"]
        answers = nic["frames_in"] - nic_before["frames_in"]
        print(f"{kind}: {sent.strip()} sent, {answers} frames of the guest, {checkpoints} checkpoints "
              f"{after['checkpoints_by_cause']}, {nic['flows']} flows, {nic['flows_half_open']} half-open, "
              f"{nic['frames_expended']} expended", flush=True)
        self.assertEqual(after["state"], "protected")
        self.assertLessEqual(checkpoints, CHECKPOINTS_MAX)
        self.assertGreaterEqual(int(sent), PER_SECOND * FLOOD_SECONDS / 4, "too little for a flood")
        if kind in ("syn", "ack"):
            self.assertGreater(nic["flows_half_open"], 1000, "the guest must have answered")


if __name__ == "__main__":
    unittest.main()
