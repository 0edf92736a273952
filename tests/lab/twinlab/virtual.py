# SPDX-License-Identifier: Apache-2.0
"""The virtual lab: two hosts and a client as virtual machines, with the objects and names that the lab of namespaces has.

See vagrant/README.md. Each machine runs a kernel of its own, and the hosts have KVM.
"""

import os
import pathlib

from twinlab.client import ClientProgram
from twinlab.guest import GuestImage
from twinlab.host import QEMU, Host
from twinlab.libvirt import POOL, STATE_DIRECTORY, Record, virsh
from twinlab.machine import Machine
from twinlab.system import LabError, run, run_group, wait_until

ROOT = pathlib.Path(__file__).resolve().parents[3]
SHARE = ROOT / "build/lab"
HOST_MACHINES = {"a": "host-a", "b": "host-b"}
CLIENT_MACHINE = "client"
PREPARE_TIMEOUT_S = 1500
UP_TIMEOUT_S = 900
SSH_CONFIG_TIMEOUT_S = 60
START_TIMEOUT_S = 120
# Emulated hosts are slow to say that they live.
TIMING = {"peer_timeout_ms": 10000}
SNAPSHOT = "ready"


class HostedImage(GuestImage):
    """The guest's image as vagrant/prepare gives it to the hosts, which have KVM."""

    processor = ("-accel", "kvm", "-cpu", "host")

    def __init__(self):
        self.directory = pathlib.Path("/srv/twinstep/guest")

    def with_cpus(self, count):
        """The same for a guest with so many processors."""
        image = HostedImage()
        image.processor = (*self.processor, "-smp", str(count))
        return image


class VirtualHost(Host):
    """twinstepd under systemd on one of the virtual hosts."""

    def __init__(self, name, machine, binaries):
        super().__init__(name, machine, binaries, pathlib.Path("/run"))
        self.machine = machine
        self.run_directory = pathlib.Path("/run/twinstep")
        self.serial_log = "/run/twinstep/web.serial"
        self.arbiter = pathlib.Path("/srv/shared")
        self.uplink, self.link = "eth1", "eth2"

    def start(self, image, dirty=None, vm_settings=None, timing=None, memory=None, nics=({},)):
        configuration = self._configuration(image, dirty, vm_settings or {}, TIMING | (timing or {}), memory or {}, nics)
        self.machine.write("/etc/twinstep/twinstepd.toml", configuration)
        self.machine.run("systemctl", "restart", "twinstepd")
        wait_until(lambda: self.vm_or_none() is not None, START_TIMEOUT_S, f"twinstepd on host {self.name} ready")

    def stop(self):
        self.machine.run("systemctl", "stop", "twinstepd")

    def nic(self):
        return self.control("nic", "show")

    def freeze_all(self):
        """A host without power needs no preparation."""

    def kill_all(self):
        """What its power failure has done already."""

    def kill_qemu(self):
        self.machine.run("pkill", "-9", "-x", QEMU[:15])

    def journal(self):
        return self.machine.run("journalctl", "-u", "twinstepd", "--no-pager", check=False)


class Wires:
    """What the scenarios use of a lab's network."""

    def __init__(self, machines):
        self._machines = machines
        self.client = machines[CLIENT_MACHINE]

    def host_loses_power(self, host):
        self._machines[HOST_MACHINES[host]].power_off()

    def host_gets_power(self, host):
        machine = self._machines[HOST_MACHINES[host]]
        machine.power_on()
        machine.wait_until_up()


class Programs:
    """Where the machines have them."""

    daemon = pathlib.Path("/usr/sbin/twinstepd")
    cli = pathlib.Path("/usr/sbin/twinstep")
    client = pathlib.Path("/usr/local/bin/twinstep-lab-client")


class VirtualLab:
    """Use it in a `with`: machines, networks, images and files are gone afterwards."""

    # What an emulated host's emulated KVM can do, with memory compared at each checkpoint.
    stream_options = ("--bytes-per-second", "20000")
    patience_s = 300

    def __init__(self, say):
        self._say = say
        self._record = Record()
        self._environment = os.environ | {
            "VAGRANT_HOME": str(STATE_DIRECTORY / "vagrant.d"),
            "VAGRANT_DOTFILE_PATH": str(STATE_DIRECTORY / "dot"),
            "VAGRANT_CHECKPOINT_DISABLE": "1",
            "VAGRANT_NO_COLOR": "1",
            "TWINSTEP_LAB_POOL": POOL,
        }
        self._ssh_config = STATE_DIRECTORY / "dot/ssh-config"
        names = (CLIENT_MACHINE, *HOST_MACHINES.values())
        self.machines = {name: Machine(name, self._ssh_config) for name in names}
        self.network = Wires(self.machines)
        self.image = HostedImage()
        self.switched_off = ()
        self._boots = {}
        self._clock_offset_ns = 0

    def __enter__(self):
        require_programs()
        self._record.take()
        try:
            self._record.start_libvirt()
            self._record.make_pool()
            self._bring_up()
        except BaseException:
            self._record.remove_lab()
            raise
        return self

    def __exit__(self, *_exception):
        self._record.remove_lab()

    def twinstep_hosts(self):
        return {name: VirtualHost(name, self.machines[machine], Programs) for name, machine in HOST_MACHINES.items()}

    def client_program(self, *arguments):
        return ClientProgram(self.network.client, Programs.client, *arguments)

    def client_now_ns(self):
        """The clock of the client's reports, to about a second."""
        return int(float(self.network.client.run("cat", "/proc/uptime").split()[0]) * 1e9)

    def kernel(self, host="b"):
        return self.machines[HOST_MACHINES[host]].run("uname", "-r").strip()

    def boot(self, version):
        """Boots both hosts with the box's kernel `version`, whatever they do now, and with no guest yet."""
        (boxes,) = (STATE_DIRECTORY / "vagrant.d/boxes").glob("*/0/libvirt")
        self.network.client.run("sh", "-c", "rm -f /srv/shared/*")
        for name in HOST_MACHINES.values():
            machine = self.machines[name]
            machine.power_off()
            machine.use_kernel(boxes, version)
            machine.power_on()
        self.wait_for_hosts()

    def wait_for_hosts(self):
        for name in HOST_MACHINES.values():
            self.machines[name].wait_until_up()
            self.machines[name].run("systemctl", "stop", "twinstepd")
        self.note_boots()

    def note_boots(self):
        """From here on a boot of a machine is a crash, but of those in `switched_off`."""
        self.switched_off = ()
        self._boots = {name: machine.boot_id() for name, machine in self.machines.items()}

    def crashed(self):
        """The machines that have booted by themselves or don't answer any more."""
        return [name for name, boot in self._boots.items()
                if name not in self.switched_off and self.machines[name].boot_id() != boot]

    def snapshot(self):
        """Saves the machines as they are, with their memory; return_to_snapshot() is quicker than booting."""
        self._all("suspend")
        self._all("snapshot-create-as", SNAPSHOT)
        self._all("resume")

    def return_to_snapshot(self):
        self._all("snapshot-revert", SNAPSHOT, "--running")
        self.wait_for_hosts()

    def drop_snapshot(self):
        self._all("snapshot-delete", SNAPSHOT)

    def _all(self, command, *words):
        for machine in self.machines.values():
            virsh(command, machine.domain, *words)

    def _bring_up(self):
        self._say("building the package, the guest and, if there is none yet, the box")
        box = () if (SHARE / "debian12.box").exists() else ("--box",)
        run_group(str(ROOT / "vagrant/prepare"), *box, timeout_s=PREPARE_TIMEOUT_S)
        self._say("vagrant up: a client and two hosts boot and are set up")
        self._vagrant("up", "--provider", "libvirt", timeout_s=UP_TIMEOUT_S)
        config = self._vagrant("ssh-config", timeout_s=SSH_CONFIG_TIMEOUT_S)
        common = (f"ControlMaster auto\nControlPath {STATE_DIRECTORY}/dot/%n\nControlPersist 600\n"
                  "ConnectTimeout 10\nServerAliveInterval 5\nServerAliveCountMax 4\n")
        self._ssh_config.write_text(common + config, encoding="utf-8")
        self.wait_for_hosts()

    def _vagrant(self, *words, timeout_s):
        return run_group("vagrant", *words, timeout_s=timeout_s, cwd=ROOT / "vagrant", env=self._environment)


def missing_programs():
    """Debian packages that the virtual lab needs and this machine lacks."""
    needed = {"vagrant": "vagrant-libvirt", "virsh": "libvirt-clients", "/usr/sbin/libvirtd": "libvirt-daemon-system",
              "mmdebstrap": "mmdebstrap", "qemu-img": "qemu-utils", "dnsmasq": "dnsmasq-base", "rsync": "rsync"}
    return [package for program, package in needed.items()
            if run("sh", "-c", f"PATH=$PATH:/usr/sbin command -v {program}", check=False) == ""]


def require_programs():
    missing = missing_programs()
    if missing:
        raise LabError(f"the virtual lab needs more packages: apt-get install {' '.join(missing)}")
