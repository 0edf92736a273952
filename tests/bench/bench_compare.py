# SPDX-License-Identifier: Apache-2.0
"""The packet plane of two hosts against QEMU's own comparison (colo-compare), under the same synthetic twin streams.

Each host is a network namespace with the daemon's own packet plane. The benchmark plays both guests: it writes their
frames into the taps as QEMU does. The client is an XDP program at the other end of the uplink, which counts and times
what comes out. colo-compare runs in a QEMU without a machine and gets the same frames on its sockets.

CPU time of the plane: the threads of both planes and of ksoftirqd, plus what writing the twins costs more than into two
taps whose XDP program drops everything: that is where the tap's XDP programs and the softirqs behind them run. The
generator alone is thereby left out; the client's XDP program is counted. CPU time of the peer: its process."""

import json
import subprocess
import sys

import figures

SVM_FIRST = 0.57  # of real guests' frames, 51-62 % come when the SVM's twin is there already
ROWS = [(protocol, payload, flows) for protocol in ("tcp", "udp") for payload in (64, 1448) for flows in (1, 1000)]
TIMEOUT_S = 60


def measure(what, row, seconds):
    """One run of one side: the figures that the program prints, or an error that ends the benchmark."""
    protocol, payload, flows = row
    command = [figures.BUILD / "tests/bench/compare/twinstep_bench_compare", "--of", what, "--protocol", protocol,
               "--payload", str(payload), "--flows", str(flows), "--svm-first", str(SVM_FIRST),
               "--seconds", str(seconds)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    if done.returncode != 0:
        sys.exit(f"Error: {what} with {protocol}, {payload} bytes, {flows} flows: {done.stderr.strip()[-500:]}")
    return json.loads(done.stdout)


def median_of(runs, *path):
    """The median over runs of the figure at a path of keys."""
    def at(run):
        for key in path:
            run = run[key]
        return run
    return figures.median(at(run) for run in runs)


def latency(runs, which="all"):
    return {key: round(median_of(runs, "latency_us", which, key), 2) for key in ("p50", "p99")}


def row_of(row, plane, peer):
    protocol, payload, flows = row
    cpu_us = median_of(plane, "cpu_us_per_packet")
    peer_cpu_us = median_of(peer, "cpu_us_per_packet")
    latency_us, peer_latency_us = latency(plane), latency(peer)
    return {
        "protocol": protocol, "payload_bytes": payload, "flows": flows,
        "cpu_us_per_packet": round(cpu_us, 3), "peer_cpu_us_per_packet": round(peer_cpu_us, 3),
        "cpu_us_threads": round(median_of(plane, "cpu_us_threads"), 3),
        "cpu_us_in_generator": round(median_of(plane, "cpu_us_in_generator"), 3),
        "pps": round(1e6 / cpu_us), "peer_pps": round(1e6 / peer_cpu_us),
        "saturated_pps": round(median_of(plane, "saturated_pps")),
        "peer_saturated_pps": round(median_of(peer, "saturated_pps")),
        "latency_us": latency_us, "peer_latency_us": peer_latency_us,
        "latency_svm_first_us": latency(plane, "svm_first"), "latency_pvm_first_us": latency(plane, "pvm_first"),
        "released_on_arrival": round(median_of(plane, "released_on_arrival"), 3),
        "ratio_pps": round(peer_cpu_us / cpu_us, 2),
        "ratio_latency_p50": round(latency_us["p50"] / peer_latency_us["p50"], 3),
        "link_bytes_per_output_byte": round(median_of(plane, "link_bytes_per_output_byte"), 4)}


def show(row):
    print(f"{row['protocol']:>4} {row['payload_bytes']:>6} {row['flows']:>6} {row['cpu_us_per_packet']:>8.2f} "
          f"{row['peer_cpu_us_per_packet']:>8.2f} {row['ratio_pps']:>7.2f} {row['latency_us']['p50']:>8.1f} "
          f"{row['peer_latency_us']['p50']:>8.1f} {row['ratio_latency_p50']:>7.3f} "
          f"{row['link_bytes_per_output_byte']:>7.4f}", flush=True)


def main():
    parser = figures.parser(__doc__)
    parser.add_argument("--runs", type=int, default=3, help="runs of each row, the two sides alternating; the medians "
                        "are shown (default 3)")
    parser.add_argument("--seconds", type=float, default=0.7, help="length of each measurement (default 0.7)")
    arguments = parser.parse_args()
    conditions = figures.conditions() | {"runs": arguments.runs, "seconds": arguments.seconds, "svm_first": SVM_FIRST,
                                         "how": __doc__}
    print("              flows   cpu us  peer us   ratio  p50 us  peer p50   ratio   link B/B")
    rows = []
    for row in ROWS:
        runs = [(measure("plane", row, arguments.seconds), measure("peer", row, arguments.seconds))
                for _ in range(arguments.runs)]
        rows.append(row_of(row, [plane for plane, _ in runs], [peer for _, peer in runs]))
        show(rows[-1])
    figures.write(arguments.json, {"conditions": conditions, "rows": rows})


if __name__ == "__main__":
    main()
