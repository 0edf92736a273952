#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""A server that is wrong in one chosen way, to show that the lab's client notices: bad_server.py MODE."""

import re
import socket
import struct
import sys
import threading
import time

from twinlab.content import content

HTTP_PORT = 80
UDP_PORT = 7
STALL_S = 0.6


def reset(connection):
    """Closes with RST (SO_LINGER of zero seconds)."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def read_request(connection):
    head = b""
    while b"\r\n\r\n" not in head:
        piece = connection.recv(4096)
        if not piece:
            return None
        head += piece
    count, seed = re.match(rb"GET /(?:bytes|stream/\d+)/(\d+)\?seed=(\d+) HTTP/1.1\r\n", head).groups()
    return int(count), int(seed)


def answer(connection, mode):
    request = read_request(connection)
    if request is None:
        return
    count, seed = request
    body = bytearray(content(seed, count))
    half = count // 2
    if mode == "wrong_byte":
        body[half] ^= 1
    length = count + 1 if mode == "wrong_length" else count
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % length + body[:half])
    if mode == "stall":
        time.sleep(STALL_S)
    if mode == "short":
        return
    if mode == "reset":
        time.sleep(0.1)
        reset(connection)
        return
    connection.sendall(body[half:] + (b"x" if mode == "excess" else b""))
    if mode == "reset_after_body":
        time.sleep(0.1)
        reset(connection)


def serve_connection(connection, mode):
    with connection:
        try:
            answer(connection, mode)
        except OSError:
            pass  # the client has seen enough


def serve_datagrams(endpoint):
    """Of each five it loses one, spoils one, and answers one twice."""
    for number in range(2**32):
        data, peer = endpoint.recvfrom(65536)
        if number % 5 == 1:
            continue
        if number % 5 == 2:
            data = data[:-1] + bytes([data[-1] ^ 1])
        endpoint.sendto(data, peer)
        if number % 5 == 3:
            endpoint.sendto(data, peer)


def main():
    mode = sys.argv[1]
    listener = socket.create_server(("127.0.0.1", HTTP_PORT), backlog=64)
    endpoint = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    endpoint.bind(("127.0.0.1", UDP_PORT))
    content(0, 1)
    print("ready", flush=True)
    threading.Thread(target=serve_datagrams, args=(endpoint,), daemon=True).start()
    while True:
        connection, _ = listener.accept()
        threading.Thread(target=serve_connection, args=(connection, mode), daemon=True).start()


if __name__ == "__main__":
    main()
