# SPDX-License-Identifier: Apache-2.0
"""What a checkpoint of a real guest costs, over the size of its RAM and the pages that it writes in an epoch, three
quarters of them alike in both VMs. peer_pause_ms is a model of the procedure of QEMU's COLO with the same guest and the
same parts: everything written is sent while the VM stands still, and the pause ends when the peer has loaded it (QEMU's
own COLO mode can't be run under TCG).

slow_link is the same with a link of 100 Mbit/s, once as the product compresses pages (page_codec tells whether it did at
the end) and once without: LZ4 can halve what the load writes."""

import json
import os
import subprocess
import sys

import figures
from twinlab.lab import Lab

RAM_MIB = (256, 2048)
SLOW_LINK_MBIT = 100
SLOW_LINK_PAGES = 5000
SLOW_LINK_CHECKPOINTS = 20
PAGES = (0, 500, 5000, 50000)
CHECKPOINTS = 50
PEER_CHECKPOINTS = 12
PROGRAM = figures.BUILD / "tests/bench/memory/twinstep_bench_checkpoint"
GUEST = figures.BUILD / "guest"
STEPS = ("stop", "save", "scan", "copy", "cont")


def spread(entries, field):
    values = [entry[field] / 1e6 for entry in entries]
    return {"p50": round(figures.median(values), 3), "p99": round(figures.percentile(values, 99), 3),
            "max": round(max(values), 3)}


def median_ms(entries, field):
    return round(figures.median([entry[field] for entry in entries]) / 1e6, 3)


def median_of(entries, field):
    return figures.median([entry[field] for entry in entries])


def row_of(ram_mib, pages, measured):
    own = measured["own"]
    return {
        "ram_mib": ram_mib,
        "pages_dirtied_by_load": pages,
        "load_pages_written": figures.median(measured["load_pages_written"]),
        "checkpoints": len(own),
        "pause_ms": spread(own, "pause_ns"),
        "pause_steps_ms": {step: median_ms(own, f"{step}_ns") for step in STEPS},
        "prestage_ms": median_ms(own, "prestage_ns"),
        "commit_ms": median_ms(own, "commit_ns"),
        "apply_ms": median_ms(own, "apply_ns"),
        "svm_stopped_ms": median_ms(own, "svm_stopped_ns"),
        "pages_dirty": median_of(own, "pages_dirty"),
        "pages_copied_in_pause": median_of(own, "pages_copied"),
        "pages_sent": median_of(own, "pages_sent"),
        "bytes_sent": median_of(own, "bytes_sent"),
        "peer": "a model of QEMU COLO's procedure",
        "peer_checkpoints": len(measured["peer"]),
        "peer_pause_ms": spread(measured["peer"], "pause_ns"),
    }


def goals_of(rows):
    """What the rows must show, by name."""
    by = {(row["ram_mib"], row["pages_dirtied_by_load"]): row for row in rows}
    goals = {}
    if (256, 500) in by:
        goals["pause_p50_256_500_below_5_ms"] = by[256, 500]["pause_ms"]["p50"] < 5
    for ram in RAM_MIB:
        if (ram, 500) in by and (ram, 50000) in by:
            goals[f"pause_{ram}_50000_at_most_twice_500"] = (
                by[ram, 50000]["pause_ms"]["p50"] <= 2 * by[ram, 500]["pause_ms"]["p50"])
        if (ram, 5000) in by:
            row = by[ram, 5000]
            goals[f"pause_{ram}_5000_at_most_a_fifth_of_peer"] = (
                row["pause_ms"]["p50"] <= 0.2 * row["peer_pause_ms"]["p50"])
        for pages in (5000, 50000):
            if (ram, pages) in by:
                goals[f"sent_{ram}_{pages}_at_most_0.35"] = (
                    by[ram, pages]["pages_sent"] <= 0.35 * by[ram, pages]["pages_dirty"])
    return goals


def print_row(row):
    pause = row["pause_ms"]
    peer = row["peer_pause_ms"]
    print(f"{row['ram_mib']:>5} {row['pages_dirtied_by_load']:>6} {pause['p50']:>7.2f} {pause['p99']:>7.2f} "
          f"{pause['max']:>7.2f} {row['commit_ms']:>7.1f} {row['apply_ms']:>7.1f} {row['svm_stopped_ms']:>7.1f} "
          f"{row['pages_dirty']:>7} {row['pages_sent']:>7} {peer['p50']:>7.1f}   "
          + " ".join(f"{step} {ms:.2f}" for step, ms in row["pause_steps_ms"].items()), flush=True)


def measure(arguments, codec="by-rule", inside=lambda *command: command):
    """Runs the program and yields what it measured of each of its numbers of pages. `inside`: makes a command one that
    runs where the link is."""
    ram_mib, checkpoints, peer_checkpoints, pages = arguments
    command = inside(*map(str, (PROGRAM, ram_mib, codec, checkpoints, peer_checkpoints, *pages)))
    environment = os.environ | {"TWINSTEP_GUEST_DIR": str(GUEST)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as program:
        yield from map(json.loads, program.stdout)
    if program.returncode != 0:
        sys.exit(f"Error: {PROGRAM.name} ended with {program.returncode}")


def slow_link_row(measured):
    own = measured["own"]
    return {"page_codec": measured["page_codec"], "checkpoints": len(own), "commit_ms": median_ms(own, "commit_ns"),
            "pages_sent": median_of(own, "pages_sent"), "bytes_sent": median_of(own, "bytes_sent")}


def measure_slow_link():
    """Both ends are in one namespace, so its loopback device is the link."""
    rows = {}
    with Lab() as lab:
        namespace = lab.network.hosts["a"]
        namespace.run("ip", "link", "set", "lo", "mtu", 1500)
        namespace.run("tc", "qdisc", "replace", "dev", "lo", "root", "tbf", "rate", f"{SLOW_LINK_MBIT}mbit", "burst",
                      "64kb", "latency", "50ms")
        for name, codec in (("compressed", "by-rule"), ("plain", "none")):
            (measured,) = measure((RAM_MIB[0], SLOW_LINK_CHECKPOINTS, 0, (SLOW_LINK_PAGES,)), codec, namespace.inside)
            rows[name] = slow_link_row(measured)
            print(f"link of {SLOW_LINK_MBIT} Mbit/s, {name}: {rows[name]}", flush=True)
    return {"link_mbit": SLOW_LINK_MBIT, "ram_mib": RAM_MIB[0], "pages_dirtied_by_load": SLOW_LINK_PAGES, **rows,
            "commit_compressed_over_plain": round(rows["compressed"]["commit_ms"] / rows["plain"]["commit_ms"], 3),
            "bytes_compressed_over_plain": round(rows["compressed"]["bytes_sent"] / rows["plain"]["bytes_sent"], 3)}


def main():
    parser = figures.parser(__doc__)
    parser.add_argument("--ram-mib", type=int, nargs="*", default=RAM_MIB)
    parser.add_argument("--pages", type=int, nargs="+", default=PAGES)
    parser.add_argument("--checkpoints", type=int, default=CHECKPOINTS)
    arguments = parser.parse_args()
    conditions = figures.conditions()
    subprocess.run([figures.ROOT / "tests/lab/guest/build", GUEST], check=True)
    print("  RAM  pages   pause     p99     max  commit   apply stopped   dirty    sent    peer   steps (ms, medians)")
    rows = []
    for ram_mib in arguments.ram_mib:
        measured = measure((ram_mib, arguments.checkpoints, PEER_CHECKPOINTS, arguments.pages))
        for values, pages in zip(measured, arguments.pages):
            rows.append(row_of(ram_mib, pages, values))
            print_row(rows[-1])
    slow_link = measure_slow_link()
    goals = goals_of(rows)
    print("\n".join(f"{'met   ' if met else 'missed'} {name}" for name, met in goals.items()))
    figures.write(arguments.json, {"conditions": conditions, "rows": rows, "slow_link": slow_link, "goals": goals})


if __name__ == "__main__":
    main()
