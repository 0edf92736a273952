# SPDX-License-Identifier: Apache-2.0
"""The fair ceiling of a protected VM on shared cores: both VMs run on the same input, and nothing is compared.

The product has no such mode. It is made from outside, in the maps of the daemons' BPF programs: the primary's frames go
straight to the uplink, and the secondary's go nowhere once they have been digested.
"""

import json
import pathlib
import struct
import time

from twinlab.system import LabError, run

TAP_DIRECT = 1
# Where struct ts_slot_config has tap_mode (bpf/abi/twinstep_abi.h).
TAP_MODE = slice(0, 4)
SLOT_KEY = ["0"] * 4
# What is still held has found its twin within this time, or has caused a checkpoint.
HELD_S = 0.8
TRIES = 5


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


class Mirror:
    """Turns a protected VM into a mirrored one, until the next checkpoint turns the primary's part back."""

    def __init__(self, hosts):
        self._slots = _map_named(hosts["a"], "ts_slots")
        self._svm_socket = _map_named(hosts["b"], "ts_xsk_tap")

    def begin(self):
        for _ in range(TRIES):
            self._set_direct()
            time.sleep(HELD_S)
            if self.lasts():
                run("bpftool", "map", "delete", "id", self._svm_socket, "key", *SLOT_KEY, check=False)
                return
        raise LabError(f"the VM can't be mirrored: checkpoints are less than {HELD_S} s apart")

    def _set_direct(self):
        config = self._config()
        config[TAP_MODE] = struct.pack("<I", TAP_DIRECT)
        run("bpftool", "map", "update", "id", self._slots, "key", *SLOT_KEY, "value", *map(str, config))

    def lasts(self):
        return self._config()[TAP_MODE] == struct.pack("<I", TAP_DIRECT)

    def _config(self):
        entry = json.loads(run("bpftool", "-j", "map", "lookup", "id", self._slots, "key", *SLOT_KEY))
        return bytearray(int(byte, 16) for byte in entry["value"])
