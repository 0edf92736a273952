#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Shows what a client notices when its virtual machine's host is lost: with Twinstep, and with a plain restart."""

import argparse
import pathlib
import random
import sys
import time

from twinlab import report, scenarios
from twinlab.lab import Lab, default_build_directory, exit_on_signals
from twinlab.namespaces import require_root
from twinlab.system import LabError


def parse_arguments():
    parser = argparse.ArgumentParser(prog="demo", description=__doc__)
    parser.add_argument("--json", metavar="FILE", help="write the results there")
    parser.add_argument("--runs", type=int, default=1, metavar="N", help="play each protected scenario N times")
    parser.add_argument("--scenario", choices=scenarios.NAMES, help="play only this one")
    parser.add_argument("--seed", type=int, help="choose the moments of the faults as an earlier run did")
    arguments = parser.parse_args()
    if arguments.runs < 1:
        parser.error("--runs must be at least 1")
    return arguments


def plan(arguments):
    """(name, run) of each play. The comparison needs no repetition."""
    names = [arguments.scenario] if arguments.scenario else scenarios.NAMES
    runs = {name: 1 if name == "restart" else arguments.runs for name in names}
    return [(name, run) for name in names for run in range(1, runs[name] + 1)]


class Demo:
    """Plays scenarios and tells about them as they go."""

    def __init__(self, seed):
        self._seed = seed
        self._begin = time.monotonic()

    def say(self, text):
        print(f"[{time.monotonic() - self._begin:7.2f} s] {text}", flush=True)

    def play(self, name, run):
        """The result of one scenario; with the field `error` when it broke off."""
        identity = {"name": name, "run": run, "seed": self._seed}
        rng = random.Random(f"{self._seed}/{name}/{run}")
        title = f"{name} {run}"
        try:
            with Lab() as lab:
                self.say(f"{title}: the lab is up")
                try:
                    return identity | scenarios.play(lab, name, rng, lambda text: self.say(f"{title}: {text}"))
                except BaseException:
                    logs = pathlib.Path(default_build_directory()) / "lab-logs" / f"{name}-{run}"
                    lab.save_logs(logs)
                    self.say(f"{title}: the hosts' logs are in {logs}")
                    raise
        except LabError as error:
            self.say(f"{title}: {error}")
            return identity | {"error": str(error)}


def main():
    arguments = parse_arguments()
    require_root()
    exit_on_signals()
    seed = arguments.seed if arguments.seed is not None else random.SystemRandom().randrange(2**32)
    print(f"seed {seed}", flush=True)
    demo = Demo(seed)
    results = [demo.play(name, run) for name, run in plan(arguments)]
    missed = [sentence for result in results for sentence in report.missed_goals(result)]
    print("\n" + report.table(results) + "\n")
    return report.conclude({"seed": seed, "scenarios": results}, missed, arguments.json)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except LabError as error:
        sys.exit(f"Error: {error}")
