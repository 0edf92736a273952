# SPDX-License-Identifier: Apache-2.0
"""Everything at once that a client can do with the guest, for as long as a test needs, and what went wrong of it."""

import socket
import threading
import time

from twinlab import content
from twinlab.network import CLIENT_ADDRESS, GUEST_ADDRESS

# Name: arguments of twinstep-lab-client. Moderate, so that two emulated guests on two processors keep up.
PROGRAMS = {
    "download": ("stream", "--bytes-per-second", 400_000),
    "uploads": ("load", "--kind", "upload", "--bytes", 200_000, "--interval-ms", 300),
    "requests": ("requests", "--interval-ms", 100),
    "persistent": ("load", "--kind", "persistent", "--clients", 8, "--bytes", 5_000, "--interval-ms", 100),
    "opened": ("load", "--kind", "opened", "--clients", 2, "--bytes", 5_000, "--interval-ms", 200),
    "udp": ("udp", "--interval-ms", 50),
    "ping": ("ping", "--interval-ms", 100),
}
# Nothing that is under way is given up earlier than this by the programs themselves.
PATIENCE_S = 60


class DialledStream(threading.Thread):
    """A connection that the guest opened and that lives as long as the load: it sends, slowly read, so that it is mostly
    in the state of a closed window."""

    SEED = 77
    BYTES_PER_SECOND = 200_000
    CHUNK_BYTES = 20_000

    def __init__(self, namespace, seconds):
        super().__init__(daemon=True)
        self._namespace = namespace
        self._bytes = self.BYTES_PER_SECOND * seconds
        self._until = threading.Event()
        self.received = 0
        self.problem = None

    def run(self):
        try:
            with self._namespace.entered():
                self._transfer()
        except (OSError, ValueError) as error:
            self.problem = f"after {self.received} bytes: {error}"

    def _transfer(self):
        with socket.create_server((str(CLIENT_ADDRESS.ip), 0)) as server:
            server.settimeout(PATIENCE_S)
            server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
            port = server.getsockname()[1]
            with socket.create_connection((str(GUEST_ADDRESS.ip), 80), timeout=PATIENCE_S) as asking:
                asking.sendall(f"GET /connect/{port}/{self._bytes}?seed={self.SEED} HTTP/1.1\r\n\r\n".encode())
                connection, _ = server.accept()
                with connection:
                    self._read(connection)

    def _read(self, connection):
        connection.settimeout(PATIENCE_S)
        block = content.block()
        start = self.SEED * 7919 % content.PERIOD
        while self.received < self._bytes and not self._until.is_set():
            data = connection.recv(self.CHUNK_BYTES)
            if not data:
                raise ValueError("closed by the guest")
            at = (start + self.received) % content.PERIOD
            if data != (block[at:] + block)[:len(data)]:
                raise ValueError("wrong bytes")
            self.received += len(data)
            time.sleep(len(data) / self.BYTES_PER_SECOND)

    def stop(self):
        self._until.set()
        self.join(PATIENCE_S)


# Long-lived connections that begin when add_connections() is called.
ADDED = {
    "stream": ("stream", "--bytes-per-second", 50_000),
    "persistent": ("load", "--kind", "persistent", "--clients", 4, "--bytes", 5_000, "--interval-ms", 200),
}


class MixedLoad:
    """Runs from its making to finish()."""

    def __init__(self, lab, seconds_max):
        self._lab = lab
        self._seconds_max = seconds_max
        self._programs = {}
        self._dialled = {}
        self._start(PROGRAMS, "")

    def add_connections(self):
        """Begins some more that live as long as the load. Where the VM is protected, its two incarnations choose different
        numbers for them, which a checkpoint makes equal again."""
        self._start(ADDED, f"_{len(self._dialled)}")

    def _start(self, programs, suffix):
        for name, arguments in programs.items():
            self._programs[name + suffix] = self._lab.client_program(arguments[0], "--seconds", self._seconds_max,
                                                                     *arguments[1:])
        dialled = self._dialled["dialled" + suffix] = DialledStream(self._lab.network.client, self._seconds_max)
        dialled.start()

    def finish(self):
        """Ends everything. Returns the reports by name."""
        for dialled in self._dialled.values():
            dialled.stop()
        for program in self._programs.values():
            program.stop()
        reports = {name: program.report(timeout_s=PATIENCE_S) for name, program in self._programs.items()}
        return reports | {
            name: {"bytes": dialled.received, "problem": dialled.problem} for name, dialled in self._dialled.items()
        }


def problems(reports):
    """A sentence for each thing that a client should not have seen. Lost datagrams and pings are none."""
    found = []
    for name, report in reports.items():
        if report.get("bytes_wrong"):
            found.append(f"{name}: {report['bytes_wrong']} wrong bytes")
        if report.get("wrong"):
            found.append(f"{name}: {report['wrong']} wrong answers")
        for failure, count in report.get("failures", {}).items():
            found.append(f"{name}: {count} times {failure}")
        if report.get("failure", "none") not in ("none", "interrupted"):
            found.append(f"{name}: {report['failure']}")
        if report.get("problem"):
            found.append(f"{name}: {report['problem']}")
    idle = [name for name, report in reports.items() if not work_done(report)]
    return found + [f"{name}: did nothing" for name in idle]


def work_done(report):
    """How much a program got done, in its own unit."""
    return next((report[field] for field in ("operations", "received", "requests", "bytes") if field in report), 0)
