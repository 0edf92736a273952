# SPDX-License-Identifier: Apache-2.0
"""A host as plain high availability runs it: the same guest and the same QEMU, a bridge, and nothing of Twinstep."""

import subprocess

from twinlab import guest
from twinlab.host import QEMU
from twinlab.network import GUEST_MAC

TAP = "tap0"


class PlainHost:
    """QEMU alone on one host."""

    def __init__(self, name, network, directory):
        self.name = name
        self.serial_log = directory / f"{name}.serial"
        self._network = network
        self._namespace = network.hosts[name]
        self._log = directory / f"{name}.log"
        network.bridge_tap(name, TAP)

    def start_guest(self, image):
        command = [
            QEMU, "-machine", "q35", "-m", guest.MEMORY, "-nodefaults", "-display", "none", "-no-reboot",
            *image.qemu_args(self.serial_log),
            "-netdev", f"tap,id=net0,ifname={TAP},script=no,downscript=no,vnet_hdr=off",
            "-device", f"virtio-net-pci,netdev=net0,mac={GUEST_MAC}",
        ]
        with open(self._log, "ab") as log:
            self._namespace.start(*command, stdout=log, stderr=subprocess.STDOUT)

    def freeze_all(self):
        self._namespace.freeze_all()

    def kill_all(self):
        self._namespace.kill_all()
