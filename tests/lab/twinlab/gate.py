# SPDX-License-Identifier: Apache-2.0
"""The tests' end of tests/lab/gated_qemu: holds a host's daemon at one command to its QEMU."""

import pathlib
import socket

from twinlab.host import VM
from twinlab.system import LabError

GATED_QEMU = str(pathlib.Path(__file__).resolve().parent.parent / "gated_qemu")
# Checkpoints come at least every second where a test waits for one.
HOLD_TIMEOUT_S = 20


class Gate:
    """For one host whose VM has GATED_QEMU as its `qemu`."""

    def __init__(self, host):
        self._host = host
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(HOLD_TIMEOUT_S)
        self._socket.connect(str(host.run_directory / VM / "gate.sock"))
        self._answers = self._socket.makefile("r")

    def arm(self, command, part):
        """The next `command` is held; part: "request" or "reply"."""
        self._say(f"{command} {part}")
        self._expect("armed")

    def wait_held(self):
        self._expect("held")

    def go(self):
        self._say("go")

    def close(self):
        self._answers.close()
        self._socket.close()

    def _say(self, text):
        self._socket.sendall(text.encode())

    def _expect(self, word):
        try:
            answer = self._answers.readline().strip()
        except TimeoutError:
            answer = f"nothing within {HOLD_TIMEOUT_S} s"
        if answer != word:
            raise LabError(f"host {self._host.name}: the gate before QEMU says {answer}, not {word}")
