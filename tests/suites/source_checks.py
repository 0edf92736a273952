# SPDX-License-Identifier: Apache-2.0
"""Checks of the sources themselves: format, clang-tidy, shellcheck."""

import concurrent.futures
import json
import os
import pathlib
import subprocess

from outcome import Outcome, check_command, run_command

TIMEOUT_S = 600
TIDY_TIMEOUT_S = 600
_TIDY_DIRECTORIES = ("userspace", "qemu-glue")


def _tracked(root, *patterns):
    listed = subprocess.run(["git", "-C", root, "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--",
                             *patterns], capture_output=True, text=True, check=True)
    return [path for path in sorted(set(listed.stdout.split("\0"))) if path and (pathlib.Path(root) / path).exists()]


def check_format(root):
    # What is compiled for the kernel is written in its style.
    files = _tracked(root, "*.cpp", "*.hpp", "*.c", "*.h", ":!bpf/", ":!*.bpf.c")
    return check_command(["clang-format", "--dry-run", "--Werror", *files], TIMEOUT_S, cwd=root)


def _is_shell_script(path):
    with open(path, "rb") as file:
        return file.readline().startswith((b"#!/bin/bash", b"#!/bin/sh"))


def check_shell(root):
    files = [path for path in _tracked(root) if _is_shell_script(pathlib.Path(root) / path)]
    return check_command(["shellcheck", *files], TIMEOUT_S, cwd=root)


def check_tidy(root, build_directory):
    """clang-tidy over every source file of the product that the build compiles; each file is one check."""
    commands = json.loads((build_directory / "compile_commands.json").read_text(encoding="utf-8"))
    wanted = tuple(f"{root}/{directory}/" for directory in _TIDY_DIRECTORIES)
    files = sorted({entry["file"] for entry in commands if entry["file"].startswith(wanted)})

    def tidy(file):
        return run_command(["clang-tidy", "--quiet", "-p", build_directory, file], TIDY_TIMEOUT_S)

    outcome = Outcome()
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        for code, output in pool.map(tidy, files):
            if code == 0:
                outcome.passed += 1
            else:
                outcome.failed += 1
                outcome.details += output
    return outcome
