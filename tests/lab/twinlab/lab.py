# SPDX-License-Identifier: Apache-2.0
"""One lab, from its namespaces to its removal."""

import itertools
import os
import pathlib
import shutil
import signal
import time

from twinlab.client import ClientProgram
from twinlab.guest import GuestImage
from twinlab.host import ARBITER, Host
from twinlab.namespaces import Registry, remove_leftovers, require_root
from twinlab.network import HOSTS, Network
from twinlab.plain import PlainHost
from twinlab.system import LabError

_numbers = itertools.count(1)


class Binaries:
    """Where the build has put the programs."""

    def __init__(self, build_directory):
        build = pathlib.Path(build_directory)
        self.daemon = build / "userspace/daemon/twinstepd"
        self.cli = build / "userspace/cli/twinstep"
        self.client = build / "tests/lab/twinstep-lab-client"
        self.lossy = build / "tests/lab/twinstep-lab-lossy"

    def require(self, *programs):
        for program in programs:
            if not program.exists():
                raise LabError(f"{program} is missing: build it with cmake --build --preset release")


def default_build_directory():
    return os.environ.get("TWINSTEP_BUILD_DIR") or str(pathlib.Path(__file__).resolve().parents[3] / "build/release")


_ENDING_SIGNALS = (signal.SIGINT, signal.SIGTERM)


def exit_on_signals():
    """Lets Ctrl-C and SIGTERM unwind the stack, so that the lab is removed."""

    def leave(number, _frame):
        raise SystemExit(128 + number)

    for number in _ENDING_SIGNALS:
        signal.signal(number, leave)


class Lab:
    """Use it in a `with`: the namespaces and every process in them are gone afterwards."""

    stream_options = ()
    # How much longer than planned a stream may take.
    patience_s = 60

    def __init__(self, build_directory=None, wire=False, queues=1):
        require_root()
        remove_leftovers()
        self.binaries = Binaries(build_directory or default_build_directory())
        self.binaries.require(self.binaries.client)
        self.image = GuestImage()
        self.name = f"ts-{os.getpid()}-{next(_numbers)}"
        self.network = Network(self.name, wire, queues)
        self._registry = Registry(self.name, self.network.namespaces())
        self.directory = self._registry.directory

    def __enter__(self):
        try:
            self._registry.write()
            self.network.create()
        except BaseException:
            self._remove()
            raise
        return self

    def __exit__(self, *_exception):
        self._remove()

    def twinstep_hosts(self):
        """Both hosts, not started yet."""
        self.binaries.require(self.binaries.daemon, self.binaries.cli)
        (self.directory / ARBITER).mkdir()
        return {name: Host(name, self.network.hosts[name], self.binaries, self.directory) for name in HOSTS}

    @staticmethod
    def client_now_ns():
        """The clock of the client's reports."""
        return time.monotonic_ns()

    def plain_hosts(self):
        return {name: PlainHost(name, self.network, self.directory) for name in HOSTS}

    def client_program(self, *arguments, **options):
        return ClientProgram(self.network.client, self.binaries.client, *arguments, **options)

    def save_logs(self, destination):
        """Copies the logs and configurations of the hosts to where they outlive the lab."""
        target = pathlib.Path(destination)
        target.mkdir(parents=True, exist_ok=True)
        for file in self.directory.rglob("*"):
            if file.is_file() and file.suffix in (".log", ".serial", ".toml"):
                shutil.copy(file, target / file.name)

    def _remove(self):
        """Not to be cut short by a second Ctrl-C: each step in it has a limit."""
        previous = {number: signal.signal(number, signal.SIG_IGN) for number in _ENDING_SIGNALS}
        try:
            self._registry.remove()
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)
