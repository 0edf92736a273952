#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The virtual lab: a demo of a host that loses power, and the examination of each kernel that the box has."""

import argparse
import sys
import time

from twinlab import examination, faults, report, scenarios
from twinlab.host import VM
from twinlab.lab import exit_on_signals
from twinlab.system import LabError, wait_until
from twinlab.virtual import HOST_MACHINES, VirtualLab

KERNELS = ("6.12", "6.1")
STREAM_SECONDS = 30
GUEST_TIMEOUT_S = 300
PROTECT_TIMEOUT_S = 300
TAKEOVER_TIMEOUT_S = 120


class Teller:
    """Tells what happens and when."""

    def __init__(self):
        self._begin = time.monotonic()

    def __call__(self, text):
        print(f"[{time.monotonic() - self._begin:7.1f} s] {text}", flush=True)


def play_demo(say):
    """The scenario of vagrant/README.md. Returns its result."""
    with VirtualLab(say) as lab:
        result = _with_one_retry(lab, lambda: _play_power_failure(lab, say), lambda: lab.boot(KERNELS[0]), say)
    say("the machines, networks and files of the lab are removed")
    return result


def _play_power_failure(lab, say):
    hosts = lab.twinstep_hosts()
    for host in hosts.values():
        host.start(lab.image)
    wait_until(lambda: scenarios.guest.answers(lab.network.client), GUEST_TIMEOUT_S, "the guest answers")
    say(f"the guest runs on host-a under KVM, on Linux {lab.kernel('a')}, and answers; protecting it")
    hosts["a"].control("vm", "protect", "name", VM)
    hosts["a"].wait_for_state(("protected",), PROTECT_TIMEOUT_S)
    say("protected by host-b; the client streams, requests and pings")
    traffic = scenarios.Traffic(lab, STREAM_SECONDS)
    time.sleep(STREAM_SECONDS / 3)
    say("virsh destroy twinstep-host-a")
    lab.switched_off = (HOST_MACHINES["a"],)
    fault_ns = faults.lose_host(lab, hosts["a"])
    wait_until(hosts["b"].owns_vm, TAKEOVER_TIMEOUT_S, "host b owns the VM")
    say("host-b owns the VM")
    result = scenarios.client_fields(traffic.finish(), fault_ns) | {"owner_after": scenarios.owner_of({"b": hosts["b"]})}
    say(scenarios.stream_end(result))
    lab.network.host_gets_power("a")
    wait_until(lambda: hosts["a"].vm_or_none() is not None, GUEST_TIMEOUT_S, "twinstepd on host a ready")
    say(f"host-a has power again; the VM is {hosts['a'].state()} there and {hosts['b'].state()} on host-b")
    return result


def examine_kernels(say):
    """(entries of lab[], sentences about what they miss)."""
    entries, missed = [], []
    with VirtualLab(say) as lab:
        for version in KERNELS:
            if not lab.kernel().startswith(f"{version}."):
                say(f"both hosts boot Linux {version}")
                lab.boot(version)
            lab.snapshot()
            try:
                entry = _with_one_retry(lab, lambda: examination.examine(lab, say), lab.return_to_snapshot, say)
                missed += examination.missed_goals(entry, version)
                entries.append(entry)
            except LabError as error:
                missed.append(f"kernel {version}: {error}")
                _say_journals(lab, say)
            lab.drop_snapshot()
    return entries, missed


def _with_one_retry(lab, play, begin_anew, say):
    """The lab's machines fail by themselves now and then (nested KVM under an emulated processor). Then, and only then,
    it is played once more, and the result says so."""
    try:
        return play() | {"host_crashes": 0}
    except LabError as error:
        # From outside a machine's own failure looks like one of Twinstep's.
        crashed = lab.crashed()
        if not crashed:
            raise
        say(f"{', '.join(crashed)} failed by itself ({error}); once more")
    begin_anew()
    return play() | {"host_crashes": 1}


def _say_journals(lab, say):
    for host in lab.twinstep_hosts().values():
        try:
            say("\n".join(host.journal().splitlines()[-15:]))
        except LabError as error:
            say(str(error))


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("demo", "kernels"))
    parser.add_argument("--json", metavar="FILE", help="write the results there")
    return parser.parse_args()


def main():
    arguments = parse_arguments()
    exit_on_signals()
    say = Teller()
    if arguments.what == "demo":
        result = play_demo(say)
        missed = report.missed_client_goals(result)
        document = {"demo": result}
    else:
        entries, missed = examine_kernels(say)
        document = {"lab": entries}
    return report.conclude(document, missed, arguments.json)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except LabError as error:
        sys.exit(f"Error: {error}")
