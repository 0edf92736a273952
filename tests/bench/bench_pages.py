# SPDX-License-Identifier: Apache-2.0
"""How fast scattered pages get from a guest's RAM to its twin's over the lab's link, in GiB/s: as a live round (twinstep)
and as a checkpoint, which is copied first and written when all of it is there and verified; next to a copy in memory, a
plain send of as many bytes that lie together, and iperf3, in the same run. Over one stream, and over more of them at the
same time."""

import json
import subprocess

import figures
from twinlab.lab import Lab
from twinlab.network import LINK_ADDRESSES

PROGRAM = figures.BUILD / "tests/bench/memory/twinstep_bench_pages"
PAGES = 50000
RUNS = 7
STREAMS = (1, 2, 4)
PORT = 7700
IPERF_PORT = 7701
IPERF_SECONDS = 3
TIMEOUT_S = 60


def measure_pages(sender, receiver, streams):
    address = str(LINK_ADDRESSES["b"].ip)
    peer = receiver.start(PROGRAM, "receive", address, PORT, PAGES, streams, stdout=subprocess.PIPE, text=True)
    peer.stdout.readline()
    rates = json.loads(sender.run(PROGRAM, "send", address, PORT, PAGES, streams, RUNS, timeout_s=TIMEOUT_S))
    peer.wait(TIMEOUT_S)
    zero_copy = rates.pop("zero_copy")
    gib_per_s = {kind: round(figures.median(values), 3) for kind, values in rates.items()}
    gib_per_s["twinstep"] = gib_per_s.pop("live_round")
    return {
        "streams": streams, "zero_copy": zero_copy, "gib_per_s": gib_per_s,
        "ratio_contiguous": round(gib_per_s["twinstep"] / gib_per_s["contiguous"], 3),
        "ratio_contiguous_checkpoint": round(gib_per_s["checkpoint"] / gib_per_s["contiguous"], 3),
    }


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
        rows = [measure_pages(hosts["a"], hosts["b"], streams) for streams in STREAMS]
        iperf3 = measure_iperf(hosts["a"], hosts["b"])
    first = rows[0]
    result = {
        "conditions": conditions, "pages": PAGES, "runs": RUNS, "gib_per_s": first["gib_per_s"] | {"iperf3": iperf3},
        "ratio_contiguous": first["ratio_contiguous"],
        "ratio_contiguous_checkpoint": first["ratio_contiguous_checkpoint"], "rows": rows,
    }
    print(f"{'iperf3':>12} {iperf3:6.2f} GiB/s")
    for row in rows:
        print(f"{row['streams']} streams, {'zero-copy' if row['zero_copy'] else 'copied by the kernel'}:")
        for kind, rate in sorted(row["gib_per_s"].items(), key=lambda item: -item[1]):
            print(f"{kind:>12} {rate:6.2f} GiB/s")
        print(f"twinstep / contiguous {row['ratio_contiguous']}, checkpoint {row['ratio_contiguous_checkpoint']}")
    figures.write(arguments.json, result)


if __name__ == "__main__":
    main()
