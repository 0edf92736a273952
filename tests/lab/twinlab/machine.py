# SPDX-License-Identifier: Apache-2.0
"""One machine of the virtual lab, reached by ssh. It takes commands as a namespace does."""

import pathlib
import re
import shlex
import subprocess

from twinlab.libvirt import PREFIX, virsh
from twinlab.system import LabError, run, wait_until

BOOT_TIMEOUT_S = 300
COMMAND_TIMEOUT_S = 120


class RemoteProcess:
    """A process on a machine, with what the lab uses of subprocess.Popen."""

    def __init__(self, machine, command, **options):
        self._machine = machine
        self._tag = f"/run/lab-{id(self):x}.pid"
        shell = f"echo $$ > {self._tag}; exec {shlex.join(map(str, command))}"
        self._process = subprocess.Popen(machine.inside("sh", "-c", shell), stdin=subprocess.DEVNULL,
                                         start_new_session=True, **options)

    @property
    def returncode(self):
        return self._process.returncode

    def poll(self):
        return self._process.poll()

    def wait(self, timeout=None):
        return self._process.wait(timeout)

    def communicate(self, timeout=None):
        return self._process.communicate(timeout=timeout)

    def send_signal(self, number):
        self._machine.run("sh", "-c", f"kill -{int(number)} $(cat {self._tag})", check=False)


class Machine:
    """A domain of libvirt with an ssh configuration for it."""

    def __init__(self, name, ssh_config):
        self.name = name
        self.domain = PREFIX + name
        self._ssh = ["ssh", "-F", str(ssh_config), name]

    def inside(self, *command):
        """The command as it must be started here to run there, as root."""
        return [*self._ssh, f"sudo {shlex.join(map(str, command))}"]

    def run(self, *command, timeout_s=COMMAND_TIMEOUT_S, check=True):
        return run(*self.inside(*command), timeout_s=timeout_s, check=check)

    def start(self, *command, **options):
        return RemoteProcess(self, command, **options)

    def write(self, path, text):
        done = subprocess.run(self.inside("tee", path), input=text, capture_output=True, text=True,
                              timeout=COMMAND_TIMEOUT_S, check=False)
        if done.returncode != 0:
            raise LabError(f"{self.name}: cannot write {path}: {done.stderr.strip()}")

    def answers(self):
        return self.boot_id() != ""

    def boot_id(self):
        """Names this boot of the machine; empty when it doesn't answer."""
        try:
            return self.run("cat", "/proc/sys/kernel/random/boot_id", timeout_s=30, check=False).strip()
        except LabError:
            return ""

    def power_off(self):
        """As pulling the plug: the machine's memory is gone at once."""
        virsh("destroy", self.domain, check=False)

    def power_on(self):
        virsh("start", self.domain)

    def wait_until_up(self):
        wait_until(self.answers, BOOT_TIMEOUT_S, f"{self.name} is up")

    def use_kernel(self, directory, version):
        """The powered-off machine boots the box's kernel `version` from now on."""
        (kernel,) = pathlib.Path(directory).glob(f"vmlinuz-{version}.*")
        description = virsh("dumpxml", "--inactive", self.domain)
        description = re.sub(r"<kernel>.*</kernel>", f"<kernel>{kernel}</kernel>", description)
        initrd = str(kernel).replace("vmlinuz-", "initrd.img-")
        description = re.sub(r"<initrd>.*</initrd>", f"<initrd>{initrd}</initrd>", description)
        file = pathlib.Path(directory) / f"{self.domain}.xml"
        file.write_text(description, encoding="utf-8")
        virsh("define", str(file))
