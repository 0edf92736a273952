# SPDX-License-Identifier: Apache-2.0
"""What the virtual lab shows on one kernel: checkpoints that leave both VMs equal, and a client that loses nothing."""

import json
import time

from twinlab import faults, scenarios
from twinlab.host import QEMU, VM
from twinlab.network import GUEST_ADDRESS
from twinlab.system import LabError, wait_until
from twinlab.virtual import HOST_MACHINES

CHECKPOINTS_WANTED = 50
CHECKPOINTS_TIMEOUT_S = 600
STREAM_SECONDS = 20
ROLES = ("uplink", "tap", "link")
# Pages a second, and of how many: the load under which memory is compared.
DIRTY = (300, 2000)
EPOCH_MS_MAX = 1000
# What KVM adds to a checkpoint: the NIC's queues in the host's kernel, and processors that run at the same time.
NICS = [{"vhost_net": True}]
CPUS = 2
GUEST_TIMEOUT_S = 300
PROTECT_TIMEOUT_S = 300
TAKEOVER_TIMEOUT_S = 120
DIRTY_SOURCES = {"6.1": "soft-dirty", "6.12": "pagemap-scan"}


def examine(lab, say):
    """One entry of lab[] for the kernel that the hosts run."""
    hosts = lab.twinstep_hosts()
    instructions = _probe(lab)
    for host in hosts.values():
        host.start(lab.image.with_cpus(CPUS), DIRTY, None, {"epoch_ms_max": EPOCH_MS_MAX}, {"verify": True}, NICS)
    wait_until(lambda: scenarios.guest.answers(lab.network.client), GUEST_TIMEOUT_S, "the guest answers")
    say("the guest runs with KVM on host a and answers; protecting it")
    hosts["a"].control("vm", "protect", "name", VM)
    hosts["a"].wait_for_state(("protected",), PROTECT_TIMEOUT_S)
    say("protected; its memory is compared at each checkpoint")
    clocks = _Clocks(lab, hosts["a"])
    load = _compare_memory(lab, hosts["a"], say)
    clock = clocks.compare()
    nic = hosts["a"].nic()
    nic = nic[0] if isinstance(nic, list) else nic
    before = hosts["a"].vm()
    result = _power_off_under_stream(lab, hosts, say)
    return {
        "kernel": lab.kernel(),
        "accel": _accelerator(lab),
        "cpus": CPUS,
        "vhost": _vhost_is_used(lab),
        "stream_bytes": load["stream_bytes"] + result["stream_bytes"],
        "stream_bytes_expected": load["stream_bytes_expected"] + result["stream_bytes_expected"],
        "stream_bytes_wrong": load["stream_bytes_wrong"] + result["stream_bytes_wrong"],
        "connections_reset": load["connections_reset"] + result["connections_reset"],
        "requests": load["requests"] + result["requests"],
        "requests_failed": load["requests_failed"] + result["requests_failed"],
        "owner_after": HOST_MACHINES.get(result["owner_after"], result["owner_after"]),
        "ram_equal_checkpoints": before.get("checkpoints_verified", 0),
        "checkpoints_by_cause": before["checkpoints_by_cause"],
        **clock,
        "guest_memory_errors": json.loads(_ask_guest(lab, "dirty"))["errors"],
        "attach_modes": {role: nic[f"{role}_mode"] for role in ROLES},
        "verified_instructions": instructions,
        "dirty_source": before["dirty_source"],
    }


def missed_goals(entry, version):
    """One sentence for each goal that an entry misses."""
    goals = (
        ("kernel", entry["kernel"].startswith(f"{version}.")),
        ("accel", entry["accel"] == "kvm"),
        ("vhost", entry["vhost"]),
        ("stream_bytes", entry["stream_bytes"] == entry["stream_bytes_expected"] > 0),
        ("stream_bytes_wrong", entry["stream_bytes_wrong"] == 0),
        ("connections_reset", entry["connections_reset"] == 0),
        ("requests_failed", entry["requests_failed"] == 0),
        ("owner_after", entry["owner_after"] == HOST_MACHINES["b"]),
        ("ram_equal_checkpoints", entry["ram_equal_checkpoints"] >= CHECKPOINTS_WANTED),
        ("guest_memory_errors", entry["guest_memory_errors"] == 0),
        ("attach_modes", set(entry["attach_modes"].values()) == {"native"}),
        ("dirty_source", entry["dirty_source"] == DIRTY_SOURCES[version]),
    )
    return [f"kernel {version}: {field} is {entry[field]}" for field, met in goals if not met]


def _probe(lab):
    """The verifier's counts on this kernel, from the programs as the daemon loads them."""
    host = lab.machines[HOST_MACHINES["b"]]
    report = json.loads(host.run("/srv/twinstep/twinstep-kernel-probe", "eth1", "eth2"))
    if "error" in report:
        raise LabError(f"the XDP programs on {host.name}: {report['error']}")
    return report["verified_instructions"]


def _accelerator(lab):
    """kvm, if the guest's QEMU on host b has a virtual machine of the kernel's; otherwise tcg."""
    return "kvm" if "anon_inode:kvm-vm" in _files_of_qemu(lab) else "tcg"


def _vhost_is_used(lab):
    return "/dev/vhost-net" in _files_of_qemu(lab)


def _files_of_qemu(lab):
    """What the guest's QEMU on host b has open."""
    return lab.machines[HOST_MACHINES["b"]].run("sh", "-c", f"ls -l /proc/$(pgrep -x {QEMU[:15]})/fd")


def _ask_guest(lab, what):
    return lab.network.client.run("curl", "-s", "-m", "60", f"http://{GUEST_ADDRESS.ip}/{what}")


class _Clocks:
    """How far the guest's clock falls behind the client's while checkpoints stop it."""

    def __init__(self, lab, primary):
        self._lab = lab
        self._primary = primary
        self._before = self._read()

    def compare(self):
        """As fields of an entry: the guest's delay, and the sum of the pauses that its host has measured meanwhile."""
        client_ns, guest_ns, pauses_ns = (after - before for after, before in zip(self._read(), self._before))
        return {"guest_clock_behind_ms": round((client_ns - guest_ns) / 1e6), "pauses_ms": round(pauses_ns / 1e6)}

    def _read(self):
        """(client's monotonic time, the guest's, sum of pauses so far), at about the same moment."""
        pauses_ns = sum(entry["pause_ns"] for entry in self._primary.control("checkpoint", "show"))
        return self._lab.client_now_ns(), json.loads(_ask_guest(self._lab, "clock"))["monotonic_ns"], pauses_ns


def _compare_memory(lab, primary, say):
    """Streams and requests until enough checkpoints have left both VMs' memories equal. Returns the sums of what the
    client saw."""
    sums = {}
    deadline = time.monotonic() + CHECKPOINTS_TIMEOUT_S
    while primary.vm().get("checkpoints_verified", 0) < CHECKPOINTS_WANTED:
        if time.monotonic() > deadline:
            raise LabError(f"not {CHECKPOINTS_WANTED} compared checkpoints within {CHECKPOINTS_TIMEOUT_S} s")
        reports = scenarios.Traffic(lab, STREAM_SECONDS).finish()
        sums = _add(sums, _fields(reports))
        shown = primary.vm()
        if shown["state"] != "protected":
            raise LabError(f"the VM is {shown['state']} and no longer protected: {shown.get('last_reason')}")
        say(f"{shown.get('checkpoints_verified', 0)} checkpoints with equal memory")
    return sums


def _power_off_under_stream(lab, hosts, say):
    traffic = scenarios.Traffic(lab, STREAM_SECONDS)
    time.sleep(STREAM_SECONDS / 4)
    say("the client streams; host-a loses its power")
    lab.switched_off = (HOST_MACHINES["a"],)
    faults.lose_host(lab, hosts["a"])
    wait_until(hosts["b"].owns_vm, TAKEOVER_TIMEOUT_S, "host b owns the VM")
    say("host b owns the VM; the stream goes on")
    fields = _fields(traffic.finish())
    owner = "b" if hosts["b"].owns_vm() else "none"
    return fields | {"owner_after": owner}


def _fields(reports):
    stream, requests = reports["stream"], reports["requests"]
    return {
        "stream_bytes": stream["bytes"],
        "stream_bytes_expected": stream["bytes_expected"],
        "stream_bytes_wrong": stream["bytes_wrong"],
        "connections_reset": stream["connections_reset"] + requests["connections_reset"],
        "requests": requests["requests"],
        "requests_failed": requests["requests_failed"],
    }


def _add(sums, fields):
    return {field: sums.get(field, 0) + value for field, value in fields.items()}
