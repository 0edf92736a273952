# SPDX-License-Identifier: Apache-2.0
"""What all benchmarks share: the command line, percentiles, and the JSON file with the conditions of the run."""

import argparse
import json
import math
import os
import pathlib
import platform
import subprocess

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("TWINSTEP_BUILD_DIR") or ROOT / "build/release")


def parser(description):
    """Every benchmark's options; a benchmark may add its own."""
    made = argparse.ArgumentParser(description=description)
    made.add_argument("--json", metavar="FILE", help="write the figures there")
    return made


def percentile(values, percent):
    """Nearest rank; None of no values."""
    ranked = sorted(values)
    return ranked[max(math.ceil(percent / 100 * len(ranked)), 1) - 1] if ranked else None


def median(values):
    return percentile(values, 50)


def conditions():
    """Where and of what the figures were taken."""
    commit = subprocess.run(["git", "-C", ROOT, "describe", "--always", "--dirty"], capture_output=True, text=True,
                            check=False).stdout.strip()
    return {"commit": commit or None, "kernel": platform.release(), "cpus": os.cpu_count(),
            "load_before": round(os.getloadavg()[0], 2)}


def write(file, figures):
    """Writes the figures to `file`, if one was named."""
    if file:
        pathlib.Path(file).write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
