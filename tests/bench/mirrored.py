# SPDX-License-Identifier: Apache-2.0
"""The ceiling of a protected VM on shared cores: both VMs run on the same input, and nothing is compared.

The product has no such mode. It is made from outside, in the maps of the daemons' BPF programs: the primary's frames go
straight to the uplink. The secondary's output and the clients' frames for it go to a program of the benchmark
(tests/bench/mirror), which gives the secondary its input as soon as it can take it. Without that its TCP connections
would break, and the ceiling would be one VM's: nothing makes the primary's output wait, so clients acknowledge what the
secondary has not sent yet, in numbers that aren't its own, and send more than its window has room for.

That program costs CPU time, which is the ceiling's and is reported; it does nothing that a protected VM needs.
"""

import json
import pathlib
import signal
import struct
import subprocess
import time

import figures
from twinlab.host import VM
from twinlab.network import GUEST_MAC
from twinlab.system import LabError, run, wait_until

TAP_DIRECT = 1
TAP_HOLD = 2
FEEDER = figures.BUILD / "tests/bench/mirror/twinstep_bench_mirror"
FEEDER_DEVICE = "ts-mirror"
FEEDER_TIMEOUT_S = 10
# In an entry of ts_uplinks and ts_taps (struct bpf_devmap_val).
IFINDEX = slice(0, 4)
NO_PROGRAM = b"\xff\xff\xff\xff"
# Where struct ts_slot_config has tap_mode (bpf/abi/twinstep_abi.h).
TAP_MODE = slice(0, 4)
SLOT_KEY = ["0"] * 4
# What is still held has found its twin within this time, or has caused a checkpoint.
HELD_S = 0.8
TRIES = 5
CHECKPOINT_TIMEOUT_S = 10


def _map_ids(pid):
    """Ids of the maps that the process has open."""
    ids = set()
    for info in pathlib.Path(f"/proc/{pid}/fdinfo").iterdir():
        try:
            fields = dict(line.split(":", 1) for line in info.read_text(encoding="ascii").splitlines() if ":" in line)
        except FileNotFoundError:
            continue
        if "map_id" in fields:
            ids.add(int(fields["map_id"]))
    return ids


def _map_named(host, name):
    pids = host.namespace.pids_named("twinstepd")
    if not pids:
        raise LabError(f"host {host.name} runs no twinstepd")
    own = _map_ids(pids[0])
    for one in json.loads(run("bpftool", "-j", "map", "show")):
        # Names of maps are cut to 15 characters.
        if one.get("name") == name[:15] and one["id"] in own:
            return str(one["id"])
    raise LabError(f"twinstepd on host {host.name} has no map {name}")


def _lookup(map_id):
    entry = json.loads(run("bpftool", "-j", "map", "lookup", "id", map_id, "key", *SLOT_KEY))
    return bytearray(int(byte, 16) for byte in entry["value"])


def _table_of_slot(host, name):
    """The id of the VM's own map in one that holds a map for each slot."""
    return str(int.from_bytes(_lookup(_map_named(host, name)), "little"))


def _update(map_id, value, namespace):
    """In the namespace of the devices that the value names."""
    namespace.run("bpftool", "map", "update", "id", map_id, "key", *SLOT_KEY, "value", *map(str, value))


class Feeder:
    """The program that gives the secondary its input, in host b's namespace."""

    def __init__(self, host):
        maps = [word for name in ("ts_flows", "ts_half_open") for word in ("--map", _table_of_slot(host, name))]
        tap = host.control("nic", "show")[0]["tap"]
        self._process = host.namespace.start(FEEDER, "--device", FEEDER_DEVICE, "--tap", tap, "--mac", GUEST_MAC,
                                             *maps, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        line = self._process.stdout.readline()
        if not line:
            raise LabError(f"the secondary's feeder failed: {self._process.stderr.read().strip()}")
        self.ifindex = json.loads(line)["ifindex"]

    def stop(self):
        """Ends it; returns its report."""
        self._process.send_signal(signal.SIGTERM)
        output, errors = self._process.communicate(timeout=FEEDER_TIMEOUT_S)
        if self._process.returncode != 0:
            raise LabError(f"the secondary's feeder failed: {errors.strip()}")
        return json.loads(output)


class Mirror:
    """Turns a protected VM into a mirrored one and back. A checkpoint in between would wait in vain for the secondary."""

    def __init__(self, hosts):
        self._primary = hosts["a"]
        self._secondary = hosts["b"]
        self._slots = {name: _map_named(host, "ts_slots") for name, host in hosts.items()}
        self._svm_ways = {}  # by map: where the secondary's frames go, out and in
        for name in ("ts_uplinks", "ts_taps"):
            number = _map_named(hosts["b"], name)
            self._svm_ways[number] = _lookup(number)[IFINDEX] + NO_PROGRAM
        self._feeder = None

    def begin(self):
        """Both VMs begin in one state, and the longest epoch is as far away as can be."""
        for mode in ("periodic", "colo"):
            self._change_mode(mode)
        for _ in range(TRIES):
            self._set_tap_mode(self._primary, TAP_DIRECT)
            time.sleep(HELD_S)
            if self.lasts():
                self._feed()
                return
        raise LabError(f"the VM can't be mirrored: checkpoints are less than {HELD_S} s apart")

    def lasts(self):
        """Whether no checkpoint has come since begin()."""
        return _lookup(self._slots["a"])[TAP_MODE] == struct.pack("<I", TAP_DIRECT)

    def end(self):
        """The secondary's output is compared again; the primary's, from the next checkpoint on. Returns the feeder's
        report: cpu_s, frames_lost and bytes_waiting_max."""
        self._set_tap_mode(self._secondary, TAP_HOLD)
        for number, way in self._svm_ways.items():
            _update(number, way, self._secondary.namespace)
        return self._feeder.stop()

    def _feed(self):
        self._feeder = Feeder(self._secondary)
        for number in self._svm_ways:
            _update(number, struct.pack("<I", self._feeder.ifindex) + NO_PROGRAM, self._secondary.namespace)
        self._set_tap_mode(self._secondary, TAP_DIRECT)

    def _set_tap_mode(self, host, mode):
        config = _lookup(self._slots[host.name])
        config[TAP_MODE] = struct.pack("<I", mode)
        _update(self._slots[host.name], config, host.namespace)

    def _change_mode(self, mode):
        before = self._mode_checkpoints()
        self._primary.control("vm", "mode", "name", VM, mode)
        wait_until(lambda: self._mode_checkpoints() > before, CHECKPOINT_TIMEOUT_S, f"a checkpoint into mode {mode}")

    def _mode_checkpoints(self):
        return self._primary.vm()["checkpoints_by_cause"].get("mode", 0)
