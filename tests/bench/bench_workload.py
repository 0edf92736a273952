#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""What protection costs a real guest's clients: throughput and latency of eight kinds of traffic, unprotected, mirrored
(both VMs run on the same input and nothing is compared: the ceiling on shared cores; see mirrored.py), and protected in
each mode: "protected" is mode colo.

cpu_cores says how many cores' time each VM's QEMU used; svm_work is the secondary's over the primary's while mirrored:
far below 1, the ceiling is one VM's and too high. mirrored.feeder is what keeps the secondary's connections alive:
cpu_cores, frames_lost (must be 0) and bytes_waiting_max, how far the secondary was behind."""

import os
import pathlib
import sys
import time

import figures
from mirrored import Mirror
from twinlab import scenarios
from twinlab.host import QEMU, VM
from twinlab.lab import Lab, exit_on_signals
from twinlab.system import LabError

# name: (unit, arguments of the client's load)
ROWS = {
    "download": ("MB/s", ("--kind", "download", "--bytes", 1_000_000)),
    "upload": ("MB/s", ("--kind", "upload", "--bytes", 4_000_000)),
    "requests_1": ("requests/s", ("--kind", "requests", "--bytes", 1_000)),
    "requests_8": ("requests/s", ("--kind", "requests", "--bytes", 1_000, "--clients", 8)),
    "persistent_16": ("requests/s", ("--kind", "persistent", "--bytes", 1_000, "--clients", 16)),
    "udp_echo": ("round trips/s", ("--kind", "udp", "--bytes", 200)),
    "guest_opened": ("connections/s", ("--kind", "opened", "--bytes", 1_000)),
    "clock_in_reply": ("replies/s", ("--kind", "clock", "--clients", 8)),
}
MODES = ("unprotected", "protected", "periodic", "auto", "mirrored")
# What the product calls them.
PRODUCT_MODES = {"protected": "colo", "periodic": "periodic", "auto": "auto"}
# Throughout the benchmark.
VM_HOSTS = {"pvm": "a", "svm": "b"}
MIRROR_TRIES = 3
# The guest's own work after a change, and translated code that has to be made again.
SETTLE_S = 0.5


def parse_arguments():
    parser = figures.parser(__doc__)
    parser.add_argument("--runs", type=int, default=5, metavar="N", help="interleaved runs of everything")
    parser.add_argument("--seconds", type=int, default=2, metavar="S", help="length of one measurement")
    parser.add_argument("--rows", default=",".join(ROWS), metavar="NAMES", help="only these, with commas between")
    parser.add_argument("--modes", default=",".join(MODES), metavar="NAMES", help="only these, with commas between")
    arguments = parser.parse_args()
    arguments.rows = arguments.rows.split(",")
    arguments.modes = arguments.modes.split(",")
    for asked, known in ((arguments.rows, ROWS), (arguments.modes, MODES)):
        if unknown := set(asked) - set(known):
            parser.error(f"there is no {', '.join(unknown)}, only {', '.join(known)}")
    return arguments


def cpu_seconds(host):
    """What the host's VM has used of the cores so far; 0 when there is none."""
    ticks = 0
    for pid in host.namespace.pids_named(QEMU):
        fields = pathlib.Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def difference(after, before):
    return {cause: count - before.get(cause, 0) for cause, count in after.items() if count != before.get(cause, 0)}


class Bench:
    """Takes the samples: self.samples[row][mode] is a list with one entry for each run."""

    def __init__(self, arguments):
        self._arguments = arguments
        self.samples = {row: {mode: [] for mode in arguments.modes} for row in arguments.rows}

    def run(self, number):
        with Lab() as lab:
            hosts = scenarios.start_solo(lab, print)
            if "unprotected" in self._arguments.modes:
                for row in self._arguments.rows:
                    self._sample(lab, hosts, row, "unprotected")
            if self._arguments.modes != ["unprotected"]:
                scenarios.protect(hosts, print)
                self._run_protected(lab, hosts)
        print(f"run {number} of {self._arguments.runs} is over", flush=True)

    def _run_protected(self, lab, hosts):
        for row in self._arguments.rows:
            for mode in self._arguments.modes:
                if mode in PRODUCT_MODES:
                    hosts["a"].control("vm", "mode", "name", VM, PRODUCT_MODES[mode])
                    self._sample(lab, hosts, row, mode)
        if "mirrored" in self._arguments.modes:
            hosts["a"].control("vm", "mode", "name", VM, "colo")
            mirror = Mirror(hosts)
            for row in self._arguments.rows:
                self._sample_mirrored(lab, hosts, row, mirror)

    def _sample_mirrored(self, lab, hosts, row, mirror):
        for _ in range(MIRROR_TRIES):
            mirror.begin()
            time.sleep(SETTLE_S)
            sample = self._measure(lab, hosts, row)
            lasted = mirror.lasts()
            sample["feeder"] = mirror.end()
            if lasted:
                self._keep(row, "mirrored", sample)
                return
        causes = hosts["a"].vm()["checkpoints_by_cause"]
        raise LabError(f"{row}: each of {MIRROR_TRIES} mirrored measurements was cut short by a checkpoint: {causes}")

    def _sample(self, lab, hosts, row, mode):
        time.sleep(SETTLE_S)
        self._keep(row, mode, self._measure(lab, hosts, row))

    def _measure(self, lab, hosts, row):
        unit, load = ROWS[row]
        before = hosts["a"].vm()
        cpu_before = {vm: cpu_seconds(hosts[host]) for vm, host in VM_HOSTS.items()}
        report = lab.client_program("load", *load, "--seconds", self._arguments.seconds).report()
        after = hosts["a"].vm()
        if after["state"] != before["state"]:
            raise LabError(f"{row}: the VM was {before['state']} and is {after['state']}: {after.get('last_reason')}")
        cpu = {vm: cpu_seconds(hosts[host]) - cpu_before[vm] for vm, host in VM_HOSTS.items()}
        seconds = (report["end_ns"] - report["start_ns"]) / 1e9
        amount = report["bytes"] / 1e6 if unit == "MB/s" else report["operations"]
        return {"throughput": amount / seconds, "seconds": seconds,
                "p50": report["latency_ms_p50"], "p99": report["latency_ms_p99"],
                "gap_ms_max": report["gap_ms_max"], "wrong_bytes": report["bytes_wrong"],
                "failures": sum(report["failures"].values()),
                "cpu_cores": {vm: used / seconds for vm, used in cpu.items()},
                "checkpoints_by_cause": difference(after["checkpoints_by_cause"], before["checkpoints_by_cause"])}

    def _keep(self, row, mode, sample):
        self.samples[row][mode].append(sample)
        causes = " ".join(f"{cause} {count}" for cause, count in sample["checkpoints_by_cause"].items())
        print(f"{row:15} {mode:12} {sample['throughput']:9.1f} {ROWS[row][0]:14} p50 {sample['p50']:7.2f} ms  "
              f"p99 {sample['p99']:7.2f} ms  wrong {sample['wrong_bytes']}  failed {sample['failures']}  {causes}",
              flush=True)


def total_causes(samples):
    total = {}
    for sample in samples:
        for cause, count in sample["checkpoints_by_cause"].items():
            total[cause] = total.get(cause, 0) + count
    return total


def feeder_summary(samples):
    feeders = [sample["feeder"] for sample in samples]
    seconds = figures.median([sample["seconds"] for sample in samples])
    return {"cpu_cores": round(figures.median([feeder["cpu_s"] for feeder in feeders]) / seconds, 2),
            "frames_lost": sum(feeder["frames_lost"] for feeder in feeders),
            "bytes_waiting_max": max(feeder["bytes_waiting_max"] for feeder in feeders)}


def summary(unit, samples):
    made = {
        "unit": unit,
        "throughput": round(figures.median([sample["throughput"] for sample in samples]), 2),
        "throughput_runs": [round(sample["throughput"], 2) for sample in samples],
        "latency_ms": {"p50": round(figures.median([sample["p50"] for sample in samples]), 3),
                       "p99": round(figures.median([sample["p99"] for sample in samples]), 3)},
        "gap_ms_max": round(max(sample["gap_ms_max"] for sample in samples), 1),
        "wrong_bytes": sum(sample["wrong_bytes"] for sample in samples),
        "failures": sum(sample["failures"] for sample in samples),
        "cpu_cores": {vm: round(figures.median([sample["cpu_cores"][vm] for sample in samples]), 2) for vm in VM_HOSTS},
        "checkpoints_by_cause": total_causes(samples),
    }
    if "feeder" in samples[0]:
        made["feeder"] = feeder_summary(samples)
    return made


def over(modes, one, other):
    """Throughput of one mode over another's, or None when either wasn't measured or did nothing."""
    if one not in modes or other not in modes or modes[other]["throughput"] == 0:
        return None
    return round(modes[one]["throughput"] / modes[other]["throughput"], 3)


def svm_work(modes):
    """CPU time of the secondary over the primary's while nothing is compared; None when that wasn't measured."""
    cpu = modes["mirrored"]["cpu_cores"] if "mirrored" in modes else {"pvm": 0}
    return round(cpu["svm"] / cpu["pvm"], 2) if cpu["pvm"] else None


def make_row(name, by_mode):
    modes = {mode: summary(ROWS[name][0], samples) for mode, samples in by_mode.items() if samples}
    row = {"name": name, **modes, "ratio": over(modes, "protected", "mirrored"),
           "svm_work": svm_work(modes), "auto_over_colo": over(modes, "auto", "protected"),
           "wrong_bytes": sum(mode["wrong_bytes"] for mode in modes.values())}
    if "protected" in modes:
        row |= {key: modes["protected"][key] for key in ("checkpoints_by_cause", "gap_ms_max")}
    return row


def main():
    arguments = parse_arguments()
    exit_on_signals()
    conditions = figures.conditions()
    bench = Bench(arguments)
    for number in range(1, arguments.runs + 1):
        bench.run(number)
    rows = [make_row(name, by_mode) for name, by_mode in bench.samples.items()]
    figures.write(arguments.json, {"conditions": conditions, "runs": arguments.runs, "seconds": arguments.seconds,
                                   "rows": rows})
    for row in rows:
        print(f"{row['name']:15} protected / mirrored {row['ratio']}  svm work {row['svm_work']}  "
              f"wrong bytes {row['wrong_bytes']}")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except LabError as error:
        sys.exit(f"Error: {error}")
