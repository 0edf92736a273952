# SPDX-License-Identifier: Apache-2.0
"""The guest: its image, its kernel command line, and how a test talks to it."""

import os
import pathlib

from twinlab.network import GUEST_ADDRESS, GUEST_ADDRESS_1, GUEST_ADDRESS6, GUEST_VLAN_ADDRESS, VLAN
from twinlab.system import LabError, run

BUILD_TIMEOUT_S = 300
MEMORY = "256M"
READY_LINE = "twinstep-guest ready"
DEFAULT_DIRECTORY = "/var/cache/twinstep/guest"


class GuestImage:
    """The kernel and initramfs; built when TWINSTEP_GUEST_DIR does not name them.

    every_protocol: guests of this image also speak IPv6 and have an interface in a VLAN.
    second_nic: they have eth1, too.
    more_args: of QEMU.
    """

    every_protocol = False
    second_nic = False
    more_args = ()
    # With one possible CPU, QEMU before 8.1 leaves the guest's memory barriers out of what it translates (tcg_gen_mb() in its
    # tcg/tcg-op.c), although its device threads run beside: now and then a virtio notification is lost, and the NIC is silent.
    processor = ("-accel", "tcg", "-cpu", "max", "-smp", "1,maxcpus=2")

    def __init__(self):
        self.directory = pathlib.Path(os.environ.get("TWINSTEP_GUEST_DIR", DEFAULT_DIRECTORY))
        if "TWINSTEP_GUEST_DIR" not in os.environ:
            build = pathlib.Path(__file__).resolve().parent.parent / "guest" / "build"
            run(str(build), str(self.directory), timeout_s=BUILD_TIMEOUT_S)
        for file in ("vmlinuz", "initramfs"):
            if not (self.directory / file).exists():
                raise LabError(f"{self.directory} has no {file}: make it with tests/lab/guest/build {self.directory}")

    def qemu_args(self, serial_log, dirty=None, address=GUEST_ADDRESS):
        """Arguments for QEMU that boot the guest. `dirty`: (pages per second, working set in pages)."""
        command_line = f"console=ttyS0 quiet panic=-1 twinstep.ip={address}"
        if self.every_protocol:
            command_line += f" twinstep.ip6={GUEST_ADDRESS6} twinstep.vlan={VLAN},{GUEST_VLAN_ADDRESS}"
        else:
            command_line += " ipv6.disable=1"
        if self.second_nic:
            command_line += f" twinstep.ip1={GUEST_ADDRESS_1}"
        if dirty:
            command_line += f" twinstep.dirty={dirty[0]},{dirty[1]}"
        return [
            *self.processor,
            "-kernel", str(self.directory / "vmlinuz"),
            "-initrd", str(self.directory / "initramfs"),
            "-append", command_line,
            "-serial", f"file:{serial_log}",
            *self.more_args,
        ]


def answers(client, address=GUEST_ADDRESS):
    """Whether the guest answers a request now."""
    url = f"http://{address.ip}/bytes/1"
    return client.run("curl", "-s", "-m", "1", "-o", "/dev/null", "-w", "%{http_code}", url, check=False) == "200"
