# SPDX-License-Identifier: Apache-2.0
"""End to end: what clients send in the very moment in which a VM is stopped for a checkpoint. QEMU reads one more frame
from the tap after its VM has stopped and hands it over when the VM runs again: no frame of a client may be that one."""

import socket
import unittest

from twinlab import checkpoint_points
from twinlab.checkpoint_points import Setup
from twinlab.lab import Lab, default_build_directory
from twinlab.network import GUEST_ADDRESS
from twinlab.system import wait_until

ECHO_PORT = 7
DATAGRAMS = [b"first", b"second", b"third"]
LOST = [b"lost " + datagram for datagram in DATAGRAMS]
ROUNDS = 3
ECHO_TIMEOUT_S = 5
SILENCE_S = 1.5
TAKEOVER_TIMEOUT_S = 25
# Longer than a stalled output waits for a checkpoint by itself.
NEXT_TIMEOUT_S = 5


class StopsTest(unittest.TestCase):

    def _run(self, play, **options):
        with Lab() as lab:
            try:
                setup = Setup(lab, **options)
                with lab.network.client.entered():
                    endpoint = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
                with endpoint:
                    endpoint.connect((str(GUEST_ADDRESS.ip), ECHO_PORT))
                    self._echo(endpoint)  # whatever has to be looked up is known from here on
                    play(setup, endpoint)
                setup.close()
            except BaseException:
                lab.save_logs(f"{default_build_directory()}/lab-logs/{self.id().rsplit('.', 1)[-1]}")
                raise

    def _echo(self, endpoint):
        for datagram in DATAGRAMS:
            endpoint.send(datagram)
        self._take_echoes(endpoint)

    def _take_echoes(self, endpoint):
        endpoint.settimeout(ECHO_TIMEOUT_S)
        self.assertEqual(sorted(endpoint.recv(100) for _ in DATAGRAMS), sorted(DATAGRAMS))

    def test_what_comes_as_the_primary_stops_reaches_both(self):
        self._run(self._as_the_primary_stops)

    def _as_the_primary_stops(self, setup, endpoint):
        for _ in range(ROUNDS):
            setup.hold("a", "stop", "reply")
            for datagram in DATAGRAMS:
                endpoint.send(datagram)
            setup.gates["a"].go()
            self._take_echoes(endpoint)
        count = len(setup.checkpoints())
        wait_until(lambda: len(setup.checkpoints()) > count, NEXT_TIMEOUT_S, "the next checkpoint")
        # Had the SVM not got all, the PVM's output would have waited for a checkpoint in vain.
        causes = {each["cause"] for each in setup.checkpoints()}
        self.assertEqual(causes, {"initial", "epoch_limit"})
        # Told where the plane has lost the VM's tap, too.
        self.assertNotIn("didn't hand over", setup.hosts["a"].log.read_text(encoding="utf-8"))

    def test_what_a_lost_epoch_brought_never_reaches_the_old_one(self):
        self._run(self._in_a_lost_epoch, small_buffers=True)

    def _in_a_lost_epoch(self, setup, endpoint):
        let_go = checkpoint_points.mid_stream(setup)
        # In the numbering of the epoch that never comes to be.
        for datagram in LOST:
            endpoint.send(datagram)
        setup.kill("a")
        let_go("b")
        wait_until(setup.hosts["b"].owns_vm, TAKEOVER_TIMEOUT_S, "host b owns the VM")
        self.assertEqual([echo for echo in self._hear(endpoint) if echo in LOST], [])
        self._echo(endpoint)

    def _hear(self, endpoint):
        """All that comes until nothing does. A failover sends the latest datagrams again."""
        heard = []
        endpoint.settimeout(SILENCE_S)
        try:
            while True:
                heard.append(endpoint.recv(100))
        except TimeoutError:
            return heard


if __name__ == "__main__":
    unittest.main()
