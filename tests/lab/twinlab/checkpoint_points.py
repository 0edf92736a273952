# SPDX-License-Identifier: Apache-2.0
"""A protected pair whose daemons can be held at known points of a checkpoint.

No luck is involved: daemons are held at a command to their QEMU, or stopped between two packets of the page stream, and
each point shows from outside that it was reached.
"""

import time

from twinlab import faults, scenarios
from twinlab.gate import GATED_QEMU, Gate
from twinlab.system import wait_until

# A checkpoint at least every 800 ms; and time to look at a daemon that stands still.
TIMING = {"epoch_ms_max": 800, "peer_timeout_ms": 6000}
# Pages per second and working set: an epoch's image is larger than the small buffers below.
DIRTY = (2000, 4096)
SMALL_BUFFERS = "4096 16384 65536"
REACH_TIMEOUT_S = 15


class Setup:
    """A protected pair whose guest writes memory, with gates before both QEMUs."""

    def __init__(self, lab, small_buffers=False, mode="colo"):
        self.lab = lab
        if small_buffers:
            for namespace in lab.network.hosts.values():
                namespace.run("sysctl", "-qw", f"net.ipv4.tcp_rmem={SMALL_BUFFERS}", f"net.ipv4.tcp_wmem={SMALL_BUFFERS}")
        self.hosts = scenarios.start_protected_pair(lab, print, DIRTY, {"qemu": GATED_QEMU}, TIMING)
        if mode != "colo":
            self.hosts["a"].control("vm", "mode", "name", "web", mode)
            wait_until(lambda: self.hosts["b"].vm().get("mode_effective") == mode, REACH_TIMEOUT_S, f"mode {mode}")
        self.gates = {name: Gate(host) for name, host in self.hosts.items()}

    def hold(self, host, command, part):
        self.gates[host].arm(command, part)
        self.gates[host].wait_held()

    def stream_queues(self):
        """Bytes that the page stream's socket on a has not got rid of, and those that b's daemon has not read."""
        queues = {}
        for name, host in self.hosts.items():
            total = {"Recv-Q": 0, "Send-Q": 0}
            for line in host.namespace.run("ss", "-Htn", "state", "established").splitlines():
                receive, send, local, peer = line.split()[:4]
                control = local.endswith(":7600") or peer.endswith(":7600")
                if "10.78." in local and not control:
                    total = {"Recv-Q": int(receive), "Send-Q": int(send)}
            queues[name] = total
        return queues["a"]["Send-Q"], queues["b"]["Recv-Q"]

    def checkpoints(self):
        return self.hosts["a"].control("checkpoint", "show", "name", "web")

    def kill(self, victim):
        """The victim's host loses its power. A daemon that stands still on the other one goes on."""
        faults.lose_host(self.lab, self.hosts[victim])

    def close(self):
        for gate in self.gates.values():
            gate.close()


# Each reaches its point and leaves the checkpoint there. Returns what lets the survivor go on.


def before_stop(setup):
    """The secondary has stopped the SVM; the primary is about to stop the PVM."""
    setup.hold("a", "stop", "request")
    return lambda survivor: setup.gates["a"].go() if survivor == "a" else None


def mid_save(setup):
    """QEMU has been told to save the device state, the daemon has not heard of the end."""
    setup.hold("a", "xen-save-devices-state", "reply")
    return lambda survivor: setup.gates["a"].go() if survivor == "a" else None


def mid_stream(setup):
    """A part of the image is in b's socket, and more of it is on a."""
    setup.hold("a", "cont", "request")
    setup.hosts["b"].freeze_daemon()
    setup.gates["a"].go()

    def stuck():
        send, receive = setup.stream_queues()
        return send > 0 and receive > 0 and setup.stream_queues() == (send, receive)

    wait_until(stuck, REACH_TIMEOUT_S, "the page stream full, with a part of the image in it")
    return lambda survivor: setup.hosts["b"].thaw_daemon() if survivor == "b" else None


def before_acknowledgement(setup):
    """The last byte of the image has reached b, whose daemon has not read it."""
    setup.hold("a", "cont", "request")
    setup.hosts["b"].freeze_daemon()
    setup.gates["a"].go()

    def arrived():
        send, receive = setup.stream_queues()
        time.sleep(0.2)
        return send == 0 and receive > 0 and setup.stream_queues() == (0, receive)

    wait_until(arrived, REACH_TIMEOUT_S, "the whole image in b's socket")
    return lambda survivor: setup.hosts["b"].thaw_daemon() if survivor == "b" else None


def after_acknowledgement(setup):
    """The primary has heard that the checkpoint is committed; the secondary is about to load it."""
    setup.hold("b", "snapshot-load", "request")
    epoch = setup.hosts["a"].control("checkpoint", "show", "name", "web")[-1]["epoch"]
    wait_until(lambda: "commit_ns" in setup.hosts["a"].control("checkpoint", "show", "name", "web")[-1],
               REACH_TIMEOUT_S, f"the commit of epoch {epoch} known to a")
    return lambda survivor: setup.gates["b"].go() if survivor == "b" else None
