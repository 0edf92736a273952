#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Floods the guest from addresses that nobody has: flooder.py KIND DEVICE GUEST GUEST_MAC PER_SECOND SECONDS.

KIND: syn (to an open port), ack (to an open port, of no connection), udp (to the echo port), closed (UDP to a closed
port). ARP requests for the addresses are answered, so that the guest's answers leave it; they then reach nobody. Prints
how many frames it sent.
"""

import errno
import random
import socket
import struct
import sys
import threading
import time

ETH_P_ARP = 0x0806
ETH_P_IP = 0x0800
HTTP_PORT = 80
ECHO_PORT = 7
CLOSED_PORT = 9
SYN = 0x02
ACK = 0x10
# The upper half of the lab's network, which has no other members.
SOURCES = range(128, 255)
BATCH_S = 0.01


def checksum(data):
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    total = (total & 0xffff) + (total >> 16)
    return ~((total & 0xffff) + (total >> 16)) & 0xffff


def ipv4(protocol, source, destination, segment, checksum_at):
    """The packet with its checksums; the segment's field at checksum_at is zero."""
    padded = segment + b"\0" * (len(segment) % 2)
    value = checksum(source + destination + struct.pack("!BBH", 0, protocol, len(segment)) + padded)
    segment = segment[:checksum_at] + struct.pack("!H", value or 0xffff) + segment[checksum_at + 2:]
    header = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(segment), 0, 0x4000, 64, protocol, 0, source, destination)
    return header[:10] + struct.pack("!H", checksum(header)) + header[12:] + segment


def tcp(rng, source, destination, flags):
    segment = struct.pack("!HHIIBBHHH", rng.randrange(1024, 65536), HTTP_PORT, rng.randrange(2**32),
                          rng.randrange(2**32) if flags & ACK else 0, 0x50, flags, 64240, 0, 0)
    return ipv4(socket.IPPROTO_TCP, source, destination, segment, 16)


def udp(rng, source, destination, port):
    payload = rng.randbytes(32)
    segment = struct.pack("!HHHH", rng.randrange(1024, 65536), port, 8 + len(payload), 0) + payload
    return ipv4(socket.IPPROTO_UDP, source, destination, segment, 6)


KINDS = {
    "syn": lambda rng, source, guest: tcp(rng, source, guest, SYN),
    "ack": lambda rng, source, guest: tcp(rng, source, guest, ACK),
    "udp": lambda rng, source, guest: udp(rng, source, guest, ECHO_PORT),
    "closed": lambda rng, source, guest: udp(rng, source, guest, CLOSED_PORT),
}


def answer_arp(device, mac):
    """Says that the sources' addresses are here."""
    endpoint = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ARP))
    endpoint.bind((device, ETH_P_ARP))
    while True:
        frame = endpoint.recv(2048)
        operation = struct.unpack("!H", frame[20:22])[0]
        asker_mac, asker, wanted = frame[22:28], frame[28:32], frame[38:42]
        if operation == 1 and wanted[3] in SOURCES and asker != wanted:
            endpoint.send(asker_mac + mac + struct.pack("!HHHBBH", ETH_P_ARP, 1, ETH_P_IP, 6, 4, 2) + mac + wanted +
                          asker_mac + asker)


def main():
    kind, device, guest, guest_mac, per_second, seconds = sys.argv[1:]
    endpoint = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    endpoint.bind((device, 0))
    mac = endpoint.getsockname()[4]
    threading.Thread(target=answer_arp, args=(device, mac), daemon=True).start()
    guest = socket.inet_aton(guest)
    head = bytes.fromhex(guest_mac.replace(":", "")) + mac + struct.pack("!H", ETH_P_IP)
    rng = random.Random(kind)
    sent = 0
    begin = time.monotonic()
    while (elapsed := time.monotonic() - begin) < float(seconds):
        while sent < elapsed * float(per_second):
            source = guest[:3] + bytes([rng.choice(SOURCES)])
            try:
                endpoint.send(head + KINDS[kind](rng, source, guest))
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise
                break  # the device is full; a flood needn't be complete
            sent += 1
        time.sleep(BATCH_S)
    print(sent, flush=True)


if __name__ == "__main__":
    main()
