# SPDX-License-Identifier: Apache-2.0
"""Network namespaces of the lab, and a record of them that outlives the process that made them.

Every process of the lab runs in one of its namespaces. So a list of namespaces is all that is needed to find and
remove what a killed run left behind, and nothing else can be hit.
"""

import contextlib
import ctypes
import fcntl
import json
import os
import pathlib
import shutil
import signal
import subprocess

from twinlab.system import LabError, kill, process_name, run, start_time, wait_until

STATE_DIRECTORY = pathlib.Path("/run/twinstep-lab")
KILL_TIMEOUT_S = 10
CLONE_NEWNET = 0x40000000


def _set_namespace(file):
    if ctypes.CDLL(None, use_errno=True).setns(file.fileno(), CLONE_NEWNET) != 0:
        error = ctypes.get_errno()
        raise LabError(f"setns {file.name}: {os.strerror(error)}")


class Namespace:
    """One network namespace, without IPv6."""

    def __init__(self, name):
        self.name = name
        self._children = []

    def create(self):
        run("ip", "netns", "add", self.name)
        self.run("sysctl", "-qw", "net.ipv6.conf.all.disable_ipv6=1", "net.ipv6.conf.default.disable_ipv6=1")
        self.run("ip", "link", "set", "lo", "up")

    def inside(self, *command):
        """The command as it must be started to run in here. The pid stays that of the command itself."""
        return ["nsenter", f"--net=/run/netns/{self.name}", *map(str, command)]

    def run(self, *command, **options):
        return run(*self.inside(*command), **options)

    def start(self, *command, **options):
        """Starts a process in here, away from the terminal's signals."""
        child = subprocess.Popen(self.inside(*command), stdin=subprocess.DEVNULL, start_new_session=True, **options)
        self._children.append(child)
        return child

    @contextlib.contextmanager
    def entered(self):
        """In a `with`, the sockets that this thread and those it starts open are in here."""
        with open("/proc/thread-self/ns/net", "rb") as own:
            with open(f"/run/netns/{self.name}", "rb") as wanted:
                _set_namespace(wanted)
            try:
                yield
            finally:
                _set_namespace(own)

    def pids(self):
        if not os.path.exists(f"/run/netns/{self.name}"):
            return []
        return [int(pid) for pid in run("ip", "netns", "pids", self.name).split()]

    def freeze_all(self):
        """Stops every process in here where it is, so that nothing it does later can be seen."""
        for pid in self.pids():
            kill(pid, signal.SIGSTOP)

    def pids_named(self, name):
        return [pid for pid in self.pids() if process_name(pid) == name[:15]]

    def kill_all(self):
        """SIGKILL to every process in here, until there is none."""

        def none_left():
            pids = self.pids()
            for pid in pids:
                kill(pid)
            return not pids

        wait_until(none_left, KILL_TIMEOUT_S, f"end of the processes in {self.name}")
        for child in self._children:
            child.wait(KILL_TIMEOUT_S)
        self._children.clear()

    def remove(self):
        self.kill_all()
        if os.path.exists(f"/run/netns/{self.name}"):
            run("ip", "netns", "delete", self.name)


class Registry:
    """The record of one lab: its owner, its namespaces and its directory, written before they are made."""

    def __init__(self, name, namespaces):
        self.directory = STATE_DIRECTORY / name
        self.namespaces = namespaces
        self._file = STATE_DIRECTORY / f"{name}.json"

    def write(self):
        STATE_DIRECTORY.mkdir(mode=0o700, exist_ok=True)
        record = {
            "owner_pid": os.getpid(),
            "owner_start": start_time(os.getpid()),
            "namespaces": [namespace.name for namespace in self.namespaces],
        }
        temporary = self._file.with_suffix(".new")
        temporary.write_text(json.dumps(record), encoding="utf-8")
        temporary.rename(self._file)
        self.directory.mkdir()

    def remove(self):
        for namespace in self.namespaces:
            namespace.remove()
        shutil.rmtree(self.directory, ignore_errors=True)
        self._file.unlink(missing_ok=True)


def remove_leftovers():
    """Removes what labs left whose owner is dead. Returns their names."""
    STATE_DIRECTORY.mkdir(mode=0o700, exist_ok=True)
    removed = []
    with open(STATE_DIRECTORY / "lock", "w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for file in sorted(STATE_DIRECTORY.glob("*.json")):
            try:
                record = json.loads(file.read_text(encoding="utf-8"))
            except FileNotFoundError:  # its own lab has just removed it
                continue
            if start_time(record["owner_pid"]) != record["owner_start"]:
                Registry(file.stem, [Namespace(name) for name in record["namespaces"]]).remove()
                removed.append(file.stem)
    return removed


def require_root():
    if os.geteuid() != 0:
        raise LabError("the lab makes network namespaces and needs root: run it with sudo")
