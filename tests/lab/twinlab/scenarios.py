# SPDX-License-Identifier: Apache-2.0
"""The scenarios: a client uses the guest, something happens to host a, and the client's reports tell what it noticed."""

import time

from twinlab import faults, guest
from twinlab.client import longest_gap_ms
from twinlab.host import VM
from twinlab.system import wait_until

STREAM_SECONDS = 25
FAULT_AFTER_S = (4.0, 14.0)
GUEST_TIMEOUT_S = 60
PROTECT_TIMEOUT_S = 120
TAKEOVER_TIMEOUT_S = 30
# A client's fetch gives up after 30 s, so nothing that the fault causes is later.
FAULT_WINDOW_NS = 40 * 10**9
PROTECTED_FAULTS = {"host_loss": faults.lose_host, "qemu_crash": faults.crash_qemu}
NAMES = (*PROTECTED_FAULTS, "restart")


class Traffic:
    """What the client does throughout: one long stream, requests on new connections, and ping."""

    def __init__(self, lab, seconds):
        self._seconds = seconds
        self._patience_s = lab.patience_s
        self._stream = lab.client_program("stream", "--seconds", seconds, *lab.stream_options)
        self._others = {name: lab.client_program(name, "--seconds", 10 * seconds) for name in ("requests", "ping")}

    def finish(self):
        """Waits for the stream's end, however it ends, and returns the reports by name."""
        reports = {"stream": self._stream.report(self._seconds + self._patience_s)}
        for program in self._others.values():
            program.stop()
        return reports | {name: program.report() for name, program in self._others.items()}


def play(lab, name, rng, say, stream_seconds=STREAM_SECONDS):
    """Plays one scenario in a fresh lab. `say(text)` is called with each event. Returns the result's fields."""
    if name == "restart":
        return _play_restart(lab, rng, say, stream_seconds)
    return _play_protected(lab, name, rng, say, stream_seconds)


def start_solo(lab, say, dirty=None, vm_settings=None, timing=None, memory=None, nics=({},)):
    """Both hosts up, the guest running unprotected on a. Returns the hosts by name."""
    hosts = lab.twinstep_hosts()
    for host in hosts.values():
        host.start(lab.image, dirty, vm_settings, timing, memory, nics)
    say("both hosts run twinstepd; the guest boots on a")
    _wait_for_guest(lab)
    return hosts


def protect(hosts, say, owner="a", vm=VM):
    """Protects the VM that runs solo on its owner."""
    begin = time.monotonic()
    hosts[owner].control("vm", "protect", "name", vm)
    hosts[owner].wait_for_state(("protected",), PROTECT_TIMEOUT_S, vm)
    say(f"protected after {time.monotonic() - begin:.1f} s")


def fail_over(lab, hosts, owner, how, say):
    """Ends the protected VM on its owner. how: "crash" kills its QEMU, "operator" asks for it. Returns the new owner."""
    other = "b" if owner == "a" else "a"
    if how == "crash":
        faults.crash_qemu(lab, hosts[owner])
    else:
        hosts[owner].control("vm", "failover", "name", VM)
    wait_until(hosts[other].owns_vm, TAKEOVER_TIMEOUT_S, f"host {other} owns the VM")
    hosts[owner].wait_for_state(("absent",), TAKEOVER_TIMEOUT_S)
    say(f"{how}: host {other} owns the VM")
    return other


def start_protected_pair(lab, say, dirty=None, vm_settings=None, timing=None, memory=None, nics=({},)):
    """Both hosts up, the guest running on a and protected by b. Returns the hosts by name."""
    hosts = start_solo(lab, say, dirty, vm_settings, timing, memory, nics)
    say("the guest answers; protecting it")
    protect(hosts, say)
    return hosts


def owner_of(hosts):
    """The host that owns the VM: "a", "b", "both" or "none"."""
    owners = [name for name, host in hosts.items() if host.owns_vm()]
    return {0: "none", 1: owners[0] if owners else "", 2: "both"}[len(owners)]


def _play_protected(lab, name, rng, say, stream_seconds):
    hosts = start_protected_pair(lab, say)
    traffic = Traffic(lab, stream_seconds)
    say("the client streams, requests and pings")
    _sleep_random(rng)
    before = hosts["a"].vm()
    say(f"host a: VM {before['state']}, {before['checkpoints']} checkpoints so far; now {name}")
    fault_ns = PROTECTED_FAULTS[name](lab, hosts["a"])
    wait_until(hosts["b"].owns_vm, TAKEOVER_TIMEOUT_S, "host b owns the VM")
    say("host b owns the VM")
    client = client_fields(traffic.finish(), fault_ns)
    after = hosts["b"].vm()
    say(f"{stream_end(client)}")
    return {
        "name": name,
        "protected_before": before["state"] == "protected",
        **client,
        "detect_ms": _ms(after, "detect_ns"),
        "checkpoints": before["checkpoints"],
        "checkpoints_by_cause": before["checkpoints_by_cause"],
        "pause_ms_p50": _ms(before, "pause_ns_p50"),
        "pause_ms_max": _ms(before, "pause_ns_max"),
        "owner_after": owner_of(hosts),
    }


def _play_restart(lab, rng, say, stream_seconds):
    hosts = lab.plain_hosts()
    hosts["a"].start_guest(lab.image)
    say("the guest boots on a, unprotected")
    _wait_for_guest(lab)
    traffic = Traffic(lab, stream_seconds)
    say("the client streams, requests and pings")
    _sleep_random(rng)
    say("now the loss of host a; host b starts the guest anew at once, with no time for detection or fencing")
    fault_ns = faults.lose_host(lab, hosts["a"])
    hosts["b"].start_guest(lab.image)
    _wait_for_guest(lab)
    say(f"the guest answers from host b, {(time.monotonic_ns() - fault_ns) / 1e9:.1f} s after the fault")
    client = client_fields(traffic.finish(), fault_ns)
    say(f"{stream_end(client)}")
    return {
        "name": "restart",
        "protected_before": False,
        **client,
        "detect_ms": None,
        "checkpoints": 0,
        "checkpoints_by_cause": {},
        "pause_ms_p50": None,
        "pause_ms_max": None,
        "owner_after": "b",
    }


def stream_end(client):
    how = "whole" if client["stream_failure"] == "none" else f"by a {client['stream_failure']}"
    return f"the client's stream has ended {how}; it stood still for {client['gap_ms']:.0f} ms"


def _ms(vm, field):
    """The VM's field in milliseconds; None when there is nothing to show, as before the first checkpoint."""
    return vm[field] / 1e6 if field in vm else None


def _wait_for_guest(lab):
    wait_until(lambda: guest.answers(lab.network.client), GUEST_TIMEOUT_S, "the guest answers")


def _sleep_random(rng):
    time.sleep(rng.uniform(*FAULT_AFTER_S))


def client_fields(reports, fault_ns):
    stream, requests, ping = reports["stream"], reports["requests"], reports["ping"]
    window = (fault_ns, fault_ns + FAULT_WINDOW_NS)
    return {
        "stream_bytes": stream["bytes"],
        "stream_bytes_expected": stream["bytes_expected"],
        "stream_bytes_wrong": stream["bytes_wrong"],
        "stream_failure": stream["failure"],
        "connections_reset": stream["connections_reset"] + requests["connections_reset"],
        "requests": requests["requests"],
        "requests_failed": requests["requests_failed"],
        "requests_gap_ms": longest_gap_ms(requests, *window),
        "ping_sent": ping["sent"],
        "ping_lost": ping["lost"],
        "gap_ms": longest_gap_ms(stream, *window),
        "gap_ms_max": stream["gap_ms_max"],
    }
