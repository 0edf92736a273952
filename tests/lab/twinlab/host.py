# SPDX-License-Identifier: Apache-2.0
"""A host that runs Twinstep."""

import json
import pathlib
import re
import signal
import subprocess

from twinlab import guest
from twinlab.network import GUEST_MAC, GUEST_MAC_1, LINK_ADDRESSES, NEIGHBOUR_ADDRESS, NEIGHBOUR_MAC
from twinlab.system import LabError, kill, run, wait_until

START_TIMEOUT_S = 20
STOP_TIMEOUT_S = 10
COMMAND_TIMEOUT_S = 20
LINK_PORT = 7600
VM = "web"
# A second VM, if there is one.
NEIGHBOUR = "db"
# The directory that both hosts see.
ARBITER = "arbiter"
QEMU = "qemu-system-x86_64"


def _peer_of(name):
    return "b" if name == "a" else "a"


def _toml(value):
    """Strings, numbers, booleans and lists of them: JSON's notation is also TOML's."""
    return json.dumps(value, ensure_ascii=True)


class Host:
    """twinstepd with a configuration of its own in one namespace."""

    def __init__(self, name, namespace, binaries, directory):
        self.name = name
        self.namespace = namespace
        self.run_directory = directory / name
        self.log = directory / f"{name}.log"
        self.serial_log = directory / f"{name}.serial"
        self.uplink = f"up-{name}"
        self.link = f"link-{name}"
        self.arbiter = directory / ARBITER
        self._binaries = binaries
        self._directory = directory
        self._daemon = None

    def start(self, image, dirty=None, vm_settings=None, timing=None, memory=None, nics=({},), neighbour=False):
        """Starts the daemon and waits until its control socket answers. vm_settings: more keys of the [[vm]] table;
        timing, memory: keys of [timing] and [memory]; nics: more keys of each [[vm.nic]], {host} in an uplink is this
        one's name; neighbour: there is a second VM."""
        configuration = self._directory / f"{self.name}.toml"
        configuration.write_text(self._configuration(image, dirty, vm_settings or {}, timing or {}, memory or {}, nics,
                                                     neighbour), encoding="utf-8")
        self.run_directory.mkdir(exist_ok=True)
        with open(self.log, "ab") as log:
            self._daemon = self.namespace.start(self._binaries.daemon, "--config", configuration, stdout=log,
                                                stderr=subprocess.STDOUT)
        wait_until(self._ready, START_TIMEOUT_S, f"twinstepd on host {self.name} ready")

    def stop(self):
        """Asks the daemon to end, and its QEMU with it."""
        if self._daemon is None:
            return
        self._daemon.send_signal(signal.SIGTERM)
        try:
            self._daemon.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            raise LabError(f"twinstepd on host {self.name} did not end within {STOP_TIMEOUT_S} s of SIGTERM") from None
        self._daemon = None

    def control(self, *words):
        """What `twinstep -j WORDS` answers; LabError with its error."""
        command = [str(self._binaries.cli), "--socket", str(self.run_directory / "control.sock"), "-j", *words]
        try:
            done = subprocess.run(self.namespace.inside(*command), stdin=subprocess.DEVNULL, capture_output=True,
                                  text=True, timeout=COMMAND_TIMEOUT_S, check=False)
        except subprocess.TimeoutExpired:
            raise LabError(f"host {self.name}: twinstep {' '.join(words)}: no answer within {COMMAND_TIMEOUT_S} s"
                           ) from None
        if done.returncode != 0:
            raise LabError(f"host {self.name}: twinstep {' '.join(words)}: {(done.stdout + done.stderr).strip()}")
        return json.loads(done.stdout)

    def vm(self, name=VM):
        return self.control("vm", "show", "name", name)

    def vm_or_none(self, name=VM):
        """The VM as this host sees it; None when the host doesn't answer."""
        try:
            return self.vm(name)
        except LabError:
            return None

    def nic(self, vm=VM):
        """The first NIC of the VM."""
        return next(nic for nic in self.control("nic", "show") if nic["vm"] == vm)

    def state(self, name=VM):
        vm = self.vm_or_none(name)
        return vm["state"] if vm else "absent"

    def is_refused(self, reason):
        """Asks to protect the VM. Returns whether the journal says by now that it isn't for this reason."""
        try:
            self.control("vm", "protect", "name", VM)
        except LabError:
            pass  # it isn't ready yet
        return reason in self.log.read_text(encoding="utf-8")

    def owns_vm(self):
        vm = self.vm_or_none()
        return vm is not None and vm["role"] == "primary" and vm["state"] in ("solo", "syncing", "protected")

    def connections_translated(self):
        """How many connections with other numbers than their clients' this host has taken over so far."""
        lines = self.log.read_text(encoding="utf-8", errors="replace")
        return sum(int(count) for count in re.findall(r", (\d+) with other numbers", lines))

    def wait_for_state(self, states, timeout_s, name=VM):
        wait_until(lambda: self.state(name) in states, timeout_s, f"host {self.name}: VM {name} {' or '.join(states)}")

    def freeze_all(self):
        """Stops every process of the host, in preparation of kill_all()."""
        self.namespace.freeze_all()

    def freeze_daemon(self):
        """Stops twinstepd alone, wherever it is."""
        self._daemon.send_signal(signal.SIGSTOP)

    def thaw_daemon(self):
        self._daemon.send_signal(signal.SIGCONT)

    def bpf_map(self, name):
        """The kernel's number of the daemon's BPF map of this name, for bpftool."""
        for file in pathlib.Path(f"/proc/{self._daemon.pid}/fdinfo").iterdir():
            found = re.search(r"^map_id:\s*(\d+)$", file.read_text(encoding="ascii"), re.MULTILINE)
            if found and json.loads(run("bpftool", "-j", "map", "show", "id", found[1]))["name"] == name:
                return found[1]
        raise LabError(f"twinstepd on host {self.name} has no BPF map {name}")

    def kill_all(self):
        """SIGKILL to every process of the host."""
        self.namespace.kill_all()
        self._daemon = None

    def kill_qemu(self):
        """SIGKILL to the VM's QEMU alone."""
        pids = self.namespace.pids_named(QEMU)
        if not pids:
            raise LabError(f"host {self.name} runs no {QEMU}")
        for pid in pids:
            kill(pid)

    def _ready(self):
        if self._daemon.poll() is not None:
            last = self.log.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-3:]
            raise LabError(f"twinstepd on host {self.name} ended by itself: {' / '.join(last)}")
        return self.vm_or_none() is not None

    def _configuration(self, image, dirty, vm_settings, timing, memory, nics, neighbour=False):
        peer = _peer_of(self.name)
        sections = [
            ("[host]", {"name": self.name, "run_dir": str(self.run_directory)}),
            ("[peer]", {"name": peer, "address": str(LINK_ADDRESSES[peer].ip)}),
            ("[link]", {"device": self.link, "address": str(LINK_ADDRESSES[self.name].ip), "port": LINK_PORT}),
            ("[timing]", timing),
            ("[memory]", memory),
            ("[arbiter]", {"type": "file", "path": str(self.arbiter)}),
            ("[[vm]]", {"name": VM, "home": "a", "memory": guest.MEMORY,
                        "qemu_args": image.qemu_args(self.serial_log, dirty), **vm_settings}),
            *(("[[vm.nic]]", self._nic(mac, settings)) for mac, settings in zip((GUEST_MAC, GUEST_MAC_1), nics)),
            *(self._neighbour(image) if neighbour else ()),
        ]
        lines = []
        for header, values in sections:
            lines += [header, *(f"{key} = {_toml(value)}" for key, value in values.items()), ""]
        return "\n".join(lines)

    def _neighbour(self, image):
        serial_log = self._directory / f"{self.name}-{NEIGHBOUR}.serial"
        return [
            ("[[vm]]", {"name": NEIGHBOUR, "home": "a", "memory": guest.MEMORY,
                        "qemu_args": image.qemu_args(serial_log, address=NEIGHBOUR_ADDRESS)}),
            ("[[vm.nic]]", self._nic(NEIGHBOUR_MAC, {})),
        ]

    def _nic(self, mac, settings):
        nic = {"uplink": self.uplink, "mac": mac} | settings
        return nic | {"uplink": nic["uplink"].format(host=self.name)}
