# SPDX-License-Identifier: Apache-2.0
"""Mixed load on lossy wires through failovers with protection between."""

import random
import time

from twinlab import lossy, mixed_load, scenarios

FAULTS = ("crash", "operator")
# A connection that begins this long before a failover has other numbers on the two hosts, as a rule.
OPENED_BEFORE_S = 1.0


def play(lab, seed, seconds, failovers, say):
    """Plays it in a fresh lab with a wire. Returns what the client saw and what was done to frames."""
    rng = random.Random(seed)
    hosts = scenarios.start_protected_pair(lab, say)
    ports = lossy.make_lossy(lab, seed)
    begin = time.monotonic()
    load = mixed_load.MixedLoad(lab, seconds + 600)
    owner = "a"
    checkpoints = []
    for number in range(failovers):
        # The faults spread evenly over the time, each at a moment of its own.
        until = begin + seconds * (number + rng.uniform(0.3, 0.9)) / (failovers + 1)
        time.sleep(max(until - time.monotonic(), 0))
        checkpoints.append(hosts[owner].vm()["checkpoints_by_cause"])
        load.add_connections()
        time.sleep(OPENED_BEFORE_S)
        owner = scenarios.fail_over(lab, hosts, owner, FAULTS[number % len(FAULTS)], say)
        scenarios.protect(hosts, say, owner)
    time.sleep(max(begin + seconds - time.monotonic(), 0))
    checkpoints.append(hosts[owner].vm()["checkpoints_by_cause"])
    losses = {name: side.stop() for name, side in ports.items()}
    # What was lost at last is repeated within the patience of the programs.
    reports = load.finish()
    return {
        "seed": seed,
        "problems": mixed_load.problems(reports),
        "work": {name: mixed_load.work_done(report) for name, report in reports.items()},
        "gap_ms_max": {name: report["gap_ms_max"] for name, report in reports.items() if "gap_ms_max" in report},
        "losses": losses,
        "checkpoints": checkpoints,
        "connections_translated": sum(host.connections_translated() for host in hosts.values()),
        "owner": owner,
    }
