# SPDX-License-Identifier: Apache-2.0
"""What clients ask of the guest at any of its addresses, from Python: a stream that is checked, and clocks."""

import os
import re
import socket
import threading

from twinlab.content import content

ECHO_PORT = 7
CLOCK_PORT = 13
HTTP_PORT = 80
STREAM_BYTES = 4_000_000
STREAM_BYTES_PER_SECOND = 400_000
TIMEOUT_S = 60


class Stream(threading.Thread):
    """A paced download on one connection. `wrong`: what was wrong with it, nothing if all came."""

    def __init__(self, address, seed):
        super().__init__(daemon=True)
        self._address = address
        self._seed = seed
        self.wrong = "not over yet"

    def run(self):
        expected = content(self._seed, STREAM_BYTES)
        try:
            received = self._download()
        except OSError as error:
            self.wrong = str(error)
            return
        same = os.path.commonprefix([received, expected])
        self.wrong = None if received == expected else f"{len(received)} bytes, the first {len(same)} of them right"

    def _download(self):
        with socket.create_connection((str(self._address.ip), HTTP_PORT), timeout=TIMEOUT_S) as connection:
            target = f"/stream/{STREAM_BYTES_PER_SECOND}/{STREAM_BYTES}?seed={self._seed}"
            connection.sendall(f"GET {target} HTTP/1.1\r\nHost: twinstep\r\nConnection: close\r\n\r\n".encode())
            reply = bytearray()
            while piece := connection.recv(65536):
                reply += piece
        return bytes(reply.partition(b"\r\n\r\n")[2])


def udp(address, port=ECHO_PORT):
    endpoint = socket.socket(socket.AF_INET6 if address.version == 6 else socket.AF_INET, socket.SOCK_DGRAM)
    endpoint.connect((str(address.ip), port))
    return endpoint


def clock_by_tcp(address):
    """The clock of the VM that answers, which differs between the two; to be called in the client's namespace."""
    with socket.create_connection((str(address.ip), HTTP_PORT), timeout=TIMEOUT_S) as connection:
        connection.sendall(b"GET /clock HTTP/1.1\r\nHost: twinstep\r\nConnection: close\r\n\r\n")
        reply = bytearray()
        while piece := connection.recv(4096):
            reply += piece
    return int(re.fullmatch(rb'{"monotonic_ns":(\d+)}\n', reply.partition(b"\r\n\r\n")[2])[1])


def clock_by_udp(address):
    """The same in a datagram."""
    with udp(address, CLOCK_PORT) as endpoint:
        endpoint.settimeout(TIMEOUT_S)
        endpoint.send(b"?")
        return int(re.fullmatch(rb"clock (\d+)\n", endpoint.recv(4096))[1])
