# SPDX-License-Identifier: Apache-2.0
"""The guest under plain QEMU: each of its services does what guest/http.c and guest/echo.c say."""

import http.client
import json
import socket
import threading
import unittest

from twinlab import guest
from twinlab.content import content, fnv1a64
from twinlab.lab import Lab
from twinlab.network import CLIENT_ADDRESS, GUEST_ADDRESS
from twinlab.system import wait_until

TIMEOUT_S = 30

class GuestTest(unittest.TestCase):
    """One guest for all tests; the test's own thread lives in the client's namespace."""

    @classmethod
    def setUpClass(cls):
        cls.lab = cls.enterClassContext(Lab())
        host = cls.lab.plain_hosts()["a"]
        host.start_guest(cls.lab.image)
        wait_until(lambda: guest.answers(cls.lab.network.client), TIMEOUT_S, "the guest answers")
        cls.serial_log = host.serial_log
        cls.enterClassContext(cls.lab.network.client.entered())

    def setUp(self):
        self.http = http.client.HTTPConnection(str(GUEST_ADDRESS.ip), timeout=TIMEOUT_S)
        self.addCleanup(self.http.close)

    def get(self, path):
        self.http.request("GET", path)
        reply = self.http.getresponse()
        return reply.status, reply.read()

    def get_json(self, path):
        status, body = self.get(path)
        self.assertEqual(status, 200)
        return json.loads(body)

    def test_bytes_are_the_defined_content(self):
        for seed, count in ((0, 0), (0, 1), (1, 20), (12345, 3000000)):
            self.assertEqual(self.get(f"/bytes/{count}?seed={seed}"), (200, content(seed, count)))

    def test_stream_is_paced(self):
        before = self.get_json("/clock")["monotonic_ns"]
        self.assertEqual(self.get("/stream/100000/50000?seed=3"), (200, content(3, 50000)))
        elapsed_ns = self.get_json("/clock")["monotonic_ns"] - before
        self.assertGreaterEqual(elapsed_ns, 490_000_000)

    def test_no_reply_has_a_date(self):
        self.http.request("GET", "/bytes/1")
        reply = self.http.getresponse()
        self.assertIsNone(reply.getheader("Date"))
        reply.read()

    def test_upload_is_digested(self):
        body = content(9, 300000)
        self.http.request("PUT", "/upload", body)
        reply = json.loads(self.http.getresponse().read())
        self.assertEqual(reply, {"bytes": len(body), "fnv1a64": f"{fnv1a64(body):016x}"})

    def test_guest_connects_back(self):
        received = []
        with socket.create_server((str(CLIENT_ADDRESS.ip), 0)) as listener:
            listener.settimeout(TIMEOUT_S)

            def accept():
                connection, _ = listener.accept()
                with connection:
                    while piece := connection.recv(65536):
                        received.append(piece)

            acceptor = threading.Thread(target=accept)
            acceptor.start()
            reply = self.get_json(f"/connect/{listener.getsockname()[1]}/70000?seed=5")
            acceptor.join(TIMEOUT_S)
        self.assertEqual((reply, b"".join(received)), ({"bytes": 70000}, content(5, 70000)))

    def test_dirty_load_is_set_and_stays_whole(self):
        self.assertEqual(self.get_json("/dirty/2000/3000"),
                         {"pages_per_second": 2000, "working_set_pages": 3000, "errors": 0})
        self.get("/stream/1000/1500")
        self.assertEqual(self.get_json("/dirty/0/0")["errors"], 0)
        self.assertEqual(self.get("/dirty/1/99999999")[0], 400)

    def test_unknown_path_and_method(self):
        self.assertEqual(self.get("/nothing")[0], 404)
        self.http.request("DELETE", "/bytes/1")
        reply = self.http.getresponse()
        self.assertEqual(reply.status, 405)
        reply.read()

    def test_tcp_and_udp_echo(self):
        data = content(7, 100000)
        with socket.create_connection((str(GUEST_ADDRESS.ip), 7), TIMEOUT_S) as connection:
            sender = threading.Thread(target=connection.sendall, args=(data,))
            sender.start()
            echoed = b""
            while len(echoed) < len(data) and (piece := connection.recv(65536)):
                echoed += piece
            sender.join(TIMEOUT_S)
        self.assertEqual(echoed, data)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as endpoint:
            endpoint.settimeout(TIMEOUT_S)
            endpoint.sendto(data[:1400], (str(GUEST_ADDRESS.ip), 7))
            self.assertEqual(endpoint.recv(65536), data[:1400])

    def test_console_tells_ready_and_ticks(self):
        wait_until(lambda: "tick 2" in self.serial_log.read_text(errors="replace"), TIMEOUT_S, "ticks on the console")
        self.assertIn(guest.READY_LINE, self.serial_log.read_text(errors="replace"))


if __name__ == "__main__":
    unittest.main()
