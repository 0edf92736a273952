# SPDX-License-Identifier: Apache-2.0
"""Everything that isn't TCP over IPv4: IPv6, a VLAN, UDP, echoes and fragments, through a failover; and what the two VMs
send differently."""

import socket
import struct
import threading
import time
import unittest

from twinlab import scenarios
from twinlab.content import content
from twinlab.lab import Lab, default_build_directory
from twinlab.network import GUEST_ADDRESS, GUEST_ADDRESS6, GUEST_VLAN_ADDRESS
from twinlab.traffic import TIMEOUT_S, Stream, clock_by_tcp, clock_by_udp, udp

ECHO_INTERVAL_S = 0.1
ECHO_TIMEOUT_S = 2
# More than two frames' worth, so that each datagram is three fragments.
FRAGMENTED_BYTES = 4000
FAULT_AFTER_S = 4
CLOCKS = 5
ICMP6_ECHO_REQUEST = 128
ICMP6_ECHO_REPLY = 129


class Echo(threading.Thread):
    """Sends numbered payloads and takes them back until it is stopped."""

    def __init__(self, name, endpoint, size):
        super().__init__(daemon=True)
        self.label = name
        self._endpoint = endpoint
        self._size = size
        self._stopping = threading.Event()
        self.sent = 0
        self.wrong = 0
        self.answered_ns = []

    def payload(self, number):
        return struct.pack("!I", number) + content(number, self._size - 4)

    def run(self):
        self._endpoint.settimeout(ECHO_TIMEOUT_S)
        while not self._stopping.wait(ECHO_INTERVAL_S):
            self._endpoint.send(self.wrap(self.payload(self.sent)))
            self.sent += 1
            try:
                self._take(self._receive())
            except TimeoutError:
                pass

    def wrap(self, payload):
        return payload

    def unwrap(self, datagram):
        """The payload; None if the datagram isn't an answer to this one."""
        return datagram

    def _receive(self):
        while (payload := self.unwrap(self._endpoint.recv(65536))) is None:
            pass
        return payload

    def _take(self, payload):
        number = struct.unpack("!I", payload[:4])[0] if len(payload) >= 4 else self.sent
        if number >= self.sent or payload != self.payload(number):
            self.wrong += 1
        else:
            self.answered_ns.append(time.monotonic_ns())

    def stop(self):
        self._stopping.set()
        self.join(2 * ECHO_TIMEOUT_S)


class Icmp6Echo(Echo):
    """RFC 4443, 4; the kernel puts the checksum in, and hands over what all such sockets get."""

    def wrap(self, payload):
        return struct.pack("!BBHHH", ICMP6_ECHO_REQUEST, 0, 0, self._size, self.sent & 0xffff) + payload

    def unwrap(self, datagram):
        kind, _, _, identifier = struct.unpack("!BBHH", datagram[:6])
        return datagram[8:] if (kind, identifier) == (ICMP6_ECHO_REPLY, self._size) else None


def icmp6(address):
    endpoint = socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6)
    endpoint.connect((str(address.ip), 0))
    return endpoint


def echoes():
    """To be called in the client's namespace."""
    return [Echo("udp over IPv6", udp(GUEST_ADDRESS6), 100), Echo("udp in a VLAN", udp(GUEST_VLAN_ADDRESS), 100),
            Echo("fragments", udp(GUEST_ADDRESS), FRAGMENTED_BYTES),
            Echo("fragments over IPv6", udp(GUEST_ADDRESS6), FRAGMENTED_BYTES),
            Icmp6Echo("icmpv6", icmp6(GUEST_ADDRESS6), 64), Icmp6Echo("icmpv6 in fragments", icmp6(GUEST_ADDRESS6), 3000)]


class ProtocolsTest(unittest.TestCase):

    def run_in_lab(self, play):
        with Lab() as lab:
            lab.image.every_protocol = True
            lab.network.add_client_protocols()
            try:
                play(lab, scenarios.start_protected_pair(lab, print))
            except BaseException:
                lab.save_logs(f"{default_build_directory()}/lab-logs/{self.id().rsplit('.', 1)[-1]}")
                raise

    def test_clients_notice_no_failover(self):
        self.run_in_lab(self._fail_over)

    def _fail_over(self, lab, hosts):
        with lab.network.client.entered():
            streams = {"IPv6": Stream(GUEST_ADDRESS6, 1), "VLAN": Stream(GUEST_VLAN_ADDRESS, 2),
                       "IPv4": Stream(GUEST_ADDRESS, 3)}
            answers = echoes()
            for thread in (*streams.values(), *answers):
                thread.start()
        ping = lab.client_program("ping", "--seconds", 10 * FAULT_AFTER_S)
        time.sleep(FAULT_AFTER_S)
        before = hosts["a"].vm()
        released = hosts["a"].control("nic", "show")[0]["frames_released"]
        flows = hosts["a"].control("flow", "show")
        fault_ns = time.monotonic_ns()
        scenarios.fail_over(lab, hosts, "a", "crash", print)
        for stream in streams.values():
            stream.join(TIMEOUT_S)
        for echo in answers:
            echo.stop()
        ping.stop()
        print(f"checkpoints {before['checkpoints_by_cause']}; released by agreement {released}; answered " +
              ", ".join(f"{echo.label} {len(echo.answered_ns)}/{echo.sent}" for echo in answers))

        self.assertEqual({name: stream.wrong for name, stream in streams.items()}, dict.fromkeys(streams))
        self.assertIn([5], [flow.get("vlan") for flow in flows])
        self.assertIn(str(GUEST_ADDRESS6.ip), [flow["vm_addr"] for flow in flows])
        self.assertGreater(released, 0)
        self.assertEqual(ping.report()["wrong"], 0)
        for echo in answers:
            with self.subTest(echo.label):
                self.assertEqual(echo.wrong, 0)
                self.assertTrue(any(at < fault_ns for at in echo.answered_ns), "before the fault")
                self.assertTrue(any(at > fault_ns for at in echo.answered_ns), "after it")
                # UDP and ICMP promise nothing; what the fault costs is a few of them.
                self.assertGreater(len(echo.answered_ns), 0.6 * echo.sent)

    def test_what_differs_makes_a_checkpoint_and_no_wrong_byte(self):
        self.run_in_lab(self._differ)

    def _differ(self, lab, hosts):
        def checkpoints(cause):
            return hosts["a"].vm()["checkpoints_by_cause"].get(cause, 0)

        for cause, address, ask in (("content", GUEST_ADDRESS6, clock_by_tcp),
                                    ("content", GUEST_VLAN_ADDRESS, clock_by_tcp),
                                    ("datagram", GUEST_ADDRESS6, clock_by_udp),
                                    ("datagram", GUEST_VLAN_ADDRESS, clock_by_udp)):
            with self.subTest(cause=cause, address=str(address)):
                before = checkpoints(cause)
                with lab.network.client.entered():
                    clocks = [ask(address) for _ in range(CLOCKS)]
                self.assertEqual(clocks, sorted(clocks), "one VM's clock, which goes forward")
                self.assertEqual(len(set(clocks)), CLOCKS)
                self.assertGreater(checkpoints(cause), before)


if __name__ == "__main__":
    unittest.main()
