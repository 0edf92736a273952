# SPDX-License-Identifier: Apache-2.0
"""A tagged interface in user space, for kernels without 802.1Q: a tap whose frames go out of another device with a tag."""

import fcntl
import os
import select
import socket
import struct
import threading

TUNSETIFF = 0x400454CA
IFF_TAP = 0x0002
IFF_NO_PI = 0x1000
ETH_P_ALL = 0x0003
ETH_P_8021Q = 0x8100
SOL_PACKET = 263
PACKET_AUXDATA = 8
PACKET_OUTGOING = 4
TP_STATUS_VLAN_VALID = 1 << 4
FRAME_BYTES_MAX = 65536
ADDRESSES_BYTES = 12
WAIT_S = 0.2


class VlanDevice(threading.Thread):
    """Carries frames between a tap of its own and the frames of one VLAN on `device`, until the namespace goes."""

    def __init__(self, namespace, device, name, vlan):
        super().__init__(daemon=True)
        self._vlan = vlan
        with namespace.entered():
            self._tap = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
            fcntl.ioctl(self._tap, TUNSETIFF, struct.pack("16sH22x", name.encode(), IFF_TAP | IFF_NO_PI))
            self._wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
            self._wire.bind((device, ETH_P_ALL))
            self._wire.setsockopt(SOL_PACKET, PACKET_AUXDATA, 1)
        mac = self._wire.getsockname()[4].hex(":")
        namespace.run("ip", "link", "set", "dev", name, "address", mac, "up")

    def run(self):
        while True:
            ready, _, _ = select.select([self._tap, self._wire], [], [], WAIT_S)
            try:
                if self._tap in ready:
                    self._send(os.read(self._tap, FRAME_BYTES_MAX))
                if self._wire in ready:
                    self._receive(*self._wire.recvmsg(FRAME_BYTES_MAX, 256))
            except BlockingIOError:
                pass
            except OSError:  # the namespace's devices are gone
                return

    def _send(self, frame):
        tag = struct.pack("!HH", ETH_P_8021Q, self._vlan)
        self._wire.send(frame[:ADDRESSES_BYTES] + tag + frame[ADDRESSES_BYTES:])

    def _receive(self, frame, ancillary, _flags, sender):
        if sender[2] != PACKET_OUTGOING and self._tag_of(ancillary) == self._vlan:
            os.write(self._tap, frame)

    @staticmethod
    def _tag_of(ancillary):
        """The kernel has taken the tag out of the frame and tells it apart."""
        for level, kind, data in ancillary:
            if (level, kind) != (SOL_PACKET, PACKET_AUXDATA):
                continue
            status, _, _, _, _, tci, _ = struct.unpack("=IIIHHHH", data[:20])
            if status & TP_STATUS_VLAN_VALID:
                return tci & 0xFFF
        return None
