# SPDX-License-Identifier: Apache-2.0
"""The kernels of Debian 12: every XDP program loads and attaches natively, dirty pages can be found, and bridges, VLAN devices,
bonds and real NICs carry a VM's frames, protected and not, and beside XDP programs of others, too."""

import json
import pathlib
import tempfile
import unittest

from twinlab.guest import GuestImage
from twinlab.lab import default_build_directory
from twinlab.system import LabError, run

# Debian's meta package of the kernel, and how the kernel tells dirty pages.
KERNELS = {
    "linux-image-cloud-amd64": ("6.1", "soft-dirty"),
    "linux-image-6.12-cloud-amd64": ("6.12", "pagemap-scan"),
}
ROLES = ("tap", "tap with offloads", "uplink", "link")
BUILD_TIMEOUT_S = 300
BOOT_TIMEOUT_S = 300
VERIFIER_LIMIT = 1_000_000
MARK = "PROBE "
PLANE_TESTS = 13


def boot(directory):
    """What the probe reports on the kernel in `directory`, and the console with the tests' output."""
    nics = [word for nic in ("uplink", "link")
            for word in ("-netdev", f"user,id={nic}", "-device", f"virtio-net-pci,netdev={nic}")]
    # A pair wired to each other, as virtio-net must be for zero-copy where its driver can.
    nics += [word for nic in ("one", "other")
             for word in ("-netdev", f"hubport,hubid=1,id={nic}",
                          "-device", f"virtio-net-pci,netdev={nic},disable-legacy=on,iommu_platform=on")]
    console = run("qemu-system-x86_64", *GuestImage.processor, "-m", "1024", "-nodefaults", "-display", "none",
                  "-no-reboot", "-kernel", f"{directory}/vmlinuz", "-initrd", f"{directory}/initramfs",
                  "-append", "console=ttyS0 quiet panic=-1", "-serial", "stdio", *nics, timeout_s=BOOT_TIMEOUT_S)
    reports = [line[len(MARK):] for line in console.splitlines() if line.startswith(MARK)]
    if not reports:
        raise LabError(f"the kernel gave no report: {console[-2000:]}")
    return json.loads(reports[0]), console


class KernelTest(unittest.TestCase):
    """Each kernel is booted once, in a QEMU of its own, with twinstep-kernel-probe as its only program."""

    def test_every_kernel_loads_and_attaches_all_programs(self):
        build = pathlib.Path(__file__).parent / "kernels/build"
        probe = pathlib.Path(default_build_directory()) / "tests/lab/twinstep-kernel-probe"
        tests = pathlib.Path(default_build_directory()) / "tests/bpf/plane/twinstep_plane_tests"
        for package, (version, dirty_source) in KERNELS.items():
            with self.subTest(kernel=version), tempfile.TemporaryDirectory() as directory:
                release = run(str(build), directory, package, str(probe), str(tests), timeout_s=BUILD_TIMEOUT_S).strip()
                self.assertTrue(release.startswith(f"{version}."), release)
                report, console = boot(directory)
                print(json.dumps({"kernel": release} | report))
                self.assertNotIn("error", report)
                self.assertEqual(report["attach_modes"], dict.fromkeys(ROLES, "native"))
                self.assertEqual(report["dirty_source"], dirty_source)
                self.assertIn(f"[  PASSED  ] {PLANE_TESTS} tests.", console)
                self.assertNotIn("SKIPPED", console)
                self.assertIn("SOCKETS copy", console)
                for program, count in report["verified_instructions"].items():
                    self.assertTrue(0 < count < VERIFIER_LIMIT, f"{program}: {count}")


if __name__ == "__main__":
    unittest.main()
