# SPDX-License-Identifier: Apache-2.0
"""The ceiling of a protected VM on shared cores: both VMs run on the same input, and nothing is compared.

The product has no such mode. It is made from outside, in the maps of the daemons' BPF programs: the primary's frames go
straight to the uplink, and so do the secondary's, which has none.

The ceiling is too high for TCP. Nothing makes the primary's output wait for the secondary, so the client acknowledges
what the secondary has not sent yet; its TCP stack drops such a segment, and with that connection its work
(RFC 9293, 3.10.7.4). How much of the work it does is seen by its CPU time.
"""

import json
import pathlib
import struct
import time

from twinlab.host import VM
from twinlab.system import LabError, run, wait_until

TAP_DIRECT = 1
TAP_HOLD = 2
# In an entry of ts_uplinks (struct bpf_devmap_val).
UPLINK_IFINDEX = slice(0, 4)
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


def _update(map_id, value):
    run("bpftool", "map", "update", "id", map_id, "key", *SLOT_KEY, "value", *map(str, value))


def _set_tap_mode(slots, mode):
    config = _lookup(slots)
    config[TAP_MODE] = struct.pack("<I", mode)
    _update(slots, config)


class Mirror:
    """Turns a protected VM into a mirrored one and back. A checkpoint in between would wait in vain for the secondary."""

    def __init__(self, hosts):
        self._primary = hosts["a"]
        self._slots = {name: _map_named(host, "ts_slots") for name, host in hosts.items()}
        self._svm_uplinks = _map_named(hosts["b"], "ts_uplinks")
        self._svm_uplink = _lookup(self._svm_uplinks)[UPLINK_IFINDEX] + NO_PROGRAM

    def begin(self):
        """Both VMs begin in one state, and the longest epoch is as far away as can be."""
        for mode in ("periodic", "colo"):
            self._change_mode(mode)
        for _ in range(TRIES):
            _set_tap_mode(self._slots["a"], TAP_DIRECT)
            time.sleep(HELD_S)
            if self.lasts():
                run("bpftool", "map", "delete", "id", self._svm_uplinks, "key", *SLOT_KEY)
                _set_tap_mode(self._slots["b"], TAP_DIRECT)
                return
        raise LabError(f"the VM can't be mirrored: checkpoints are less than {HELD_S} s apart")

    def lasts(self):
        """Whether no checkpoint has come since begin()."""
        return _lookup(self._slots["a"])[TAP_MODE] == struct.pack("<I", TAP_DIRECT)

    def end(self):
        """The secondary's output is compared again; the primary's, from the next checkpoint on."""
        _set_tap_mode(self._slots["b"], TAP_HOLD)
        _update(self._svm_uplinks, self._svm_uplink)

    def _change_mode(self, mode):
        before = self._mode_checkpoints()
        self._primary.control("vm", "mode", "name", VM, mode)
        wait_until(lambda: self._mode_checkpoints() > before, CHECKPOINT_TIMEOUT_S, f"a checkpoint into mode {mode}")

    def _mode_checkpoints(self):
        return self._primary.vm()["checkpoints_by_cause"].get("mode", 0)
