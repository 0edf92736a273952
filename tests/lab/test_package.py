# SPDX-License-Identifier: Apache-2.0
"""The Debian package and the lab's description: what is in them, and that the tools that read them take them."""

import os
import pathlib
import shutil
import subprocess
import tempfile
import unittest

from twinlab.lab import default_build_directory
from twinlab.system import run

ROOT = pathlib.Path(__file__).resolve().parents[2]
FILES = (
    "usr/sbin/twinstepd",
    "usr/sbin/twinstep",
    "usr/lib/systemd/system/twinstepd.service",
    "usr/share/man/man8/twinstepd.8.gz",
    "usr/share/man/man8/twinstep.8.gz",
    "usr/share/bash-completion/completions/twinstep",
    "usr/share/doc/twinstep/examples/twinstepd.toml",
    "usr/share/doc/twinstep/setup-host",
)


class PackageTest(unittest.TestCase):
    """The package of the build that is there, unpacked into a directory of its own."""

    @classmethod
    def setUpClass(cls):
        cls.directory = pathlib.Path(cls.enterClassContext(tempfile.TemporaryDirectory()))
        run("cpack", "-G", "DEB", "-B", str(cls.directory), "--config",
            f"{default_build_directory()}/CPackConfig.cmake", timeout_s=120)
        (cls.package,) = cls.directory.glob("*.deb")
        cls.root = cls.directory / "root"
        run("dpkg-deb", "-x", str(cls.package), str(cls.root))

    def test_everything_is_in_its_place(self):
        for file in FILES:
            self.assertTrue((self.root / file).is_file(), file)
        for program in FILES[:2]:
            self.assertTrue(os.access(self.root / program, os.X_OK), program)

    def test_package_names_what_it_needs(self):
        depends = run("dpkg-deb", "-f", str(self.package), "Depends")
        for needed in ("libbpf1", "liburing2", "qemu-system-x86"):
            self.assertIn(needed, depends)

    def test_the_installed_programs_run(self):
        for program in ("twinstepd", "twinstep"):
            version = run(str(self.root / "usr/sbin" / program), "--version")
            self.assertIn(run("dpkg-deb", "-f", str(self.package), "Version").strip(), version)

    def test_the_example_configuration_is_read(self):
        """It gets as far as this machine's devices: every key was taken."""
        example = (self.root / "usr/share/doc/twinstep/examples/twinstepd.toml").read_text(encoding="utf-8")
        configuration = self.directory / "twinstepd.toml"
        configuration.write_text(example.replace('device = "eth1"', 'device = "no-such-dev"'), encoding="utf-8")
        done = subprocess.run([str(self.root / "usr/sbin/twinstepd"), "--config", str(configuration)],
                              capture_output=True, text=True, timeout=20, check=False)
        self.assertEqual(done.returncode, 1)
        self.assertIn("there is no network device no-such-dev: correct link.device", done.stderr)

    @unittest.skipUnless(shutil.which("systemd-analyze"), "systemd-analyze is missing: install the package systemd")
    def test_systemd_takes_the_unit(self):
        unit = self.root / "usr/lib/systemd/system/twinstepd.service"
        # The daemon is where it was unpacked, and the manual pages are not installed.
        text = unit.read_text(encoding="utf-8").replace("/usr/sbin/", f"{self.root}/usr/sbin/")
        unit.write_text("\n".join(line for line in text.splitlines() if not line.startswith("Documentation=")),
                        encoding="utf-8")
        done = subprocess.run(["systemd-analyze", "verify", str(unit)], capture_output=True, text=True, timeout=60,
                              check=False)
        self.assertEqual((done.returncode, done.stdout + done.stderr), (0, ""))


class VagrantfileTest(unittest.TestCase):

    @unittest.skipUnless(shutil.which("vagrant"), "vagrant is missing: apt-get install vagrant vagrant-libvirt")
    def test_vagrant_takes_the_lab(self):
        with tempfile.TemporaryDirectory() as directory:
            environment = os.environ | {"VAGRANT_HOME": f"{directory}/home", "VAGRANT_DOTFILE_PATH": f"{directory}/dot",
                                        "VAGRANT_CHECKPOINT_DISABLE": "1"}
            done = subprocess.run(["vagrant", "validate"], cwd=ROOT / "vagrant", env=environment, timeout=60,
                                  capture_output=True, text=True, check=False)
            self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
            self.assertIn("Vagrantfile validated successfully", done.stdout)


if __name__ == "__main__":
    unittest.main()
