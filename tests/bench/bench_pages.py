# SPDX-License-Identifier: Apache-2.0
"""How fast scattered pages get from a guest's RAM to its twin's over the lab's link, in GiB/s: as a live round (twinstep)
and as a checkpoint, which is copied first and written when all of it is there and verified; next to a copy in memory, a
plain send of as many bytes that lie together, and iperf3, in the same run."""

import json
import subprocess

import figures
from twinlab.lab import Lab
from twinlab.network import LINK_ADDRESSES

PROGRAM = figures.BUILD / "tests/bench/memory/twinstep_bench_pages"
PAGES = 50000
RUNS = 7
PORT = 7700
IPERF_PORT = 7701
IPERF_SECONDS = 3
TIMEOUT_S = 60


def measure_pages(sender, receiver):
    address = str(LINK_ADDRESSES["b"].ip)
    peer = receiver.start(PROGRAM, "receive", address, PORT, PAGES, stdout=subprocess.PIPE, text=True)
    peer.stdout.readline()
    rates = json.loads(sender.run(PROGRAM, "send", address, PORT, PAGES, RUNS, timeout_s=TIMEOUT_S))
    peer.wait(TIMEOUT_S)
    return {kind: round(figures.median(values), 3) for kind, values in rates.items()}


def measure_iperf(sender, receiver):
    address = str(LINK_ADDRESSES["b"].ip)
    server = receiver.start("iperf3", "--server", "--one-off", "--port", IPERF_PORT, "--forceflush",
                            stdout=subprocess.PIPE, text=True)
    server.stdout.readline()
    report = json.loads(sender.run("iperf3", "--client", address, "--port", IPERF_PORT, "--time", IPERF_SECONDS,
                                   "--json", timeout_s=TIMEOUT_S))
    server.wait(TIMEOUT_S)
    return round(report["end"]["sum_received"]["bits_per_second"] / 8 / 2**30, 3)


def main():
    arguments = figures.parser(__doc__).parse_args()
    conditions = figures.conditions()
    with Lab() as lab:
        hosts = lab.network.hosts
        rates = measure_pages(hosts["a"], hosts["b"])
        rates["iperf3"] = measure_iperf(hosts["a"], hosts["b"])
    rates["twinstep"] = rates.pop("live_round")
    result = {
        "conditions": conditions, "pages": PAGES, "runs": RUNS, "gib_per_s": rates,
        "ratio_contiguous": round(rates["twinstep"] / rates["contiguous"], 3),
        "ratio_contiguous_checkpoint": round(rates["checkpoint"] / rates["contiguous"], 3),
    }
    for kind, rate in sorted(rates.items(), key=lambda item: -item[1]):
        print(f"{kind:>12} {rate:6.2f} GiB/s")
    print(f"twinstep / contiguous {result['ratio_contiguous']}")
    figures.write(arguments.json, result)


if __name__ == "__main__":
    main()
