# SPDX-License-Identifier: Apache-2.0
"""How much memory protecting takes on the secondary's host: the most that its QEMU and its daemon had at once, over the
guest's RAM, from before the first synchronisation on. The guest has used most of its RAM before, and writes a set of pages
in each epoch."""

import os
import pathlib
import threading
import time

import figures
from twinlab import scenarios
from twinlab.host import QEMU
from twinlab.lab import Lab
from twinlab.network import GUEST_ADDRESS

RAM_MIB = 2048
FILL_PAGES = 420000
DIRTY_PAGES = 5000
DIRTY_RATE = 25000
EPOCH_MS = 1000
SECONDS = 30
FILL_TIMEOUT_S = 180
SAMPLE_S = 0.005
BACKEND = "/memfd:memory-backend-memfd"
PRIVATE_FIELDS = ("RssAnon:", "RssFile:")


def private_bytes(pid):
    """What a process has in memory, but for shared memory."""
    try:
        lines = pathlib.Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith(PRIVATE_FIELDS))


def backend_bytes(pid):
    """The memory of the guest's RAM, whoever has touched it."""
    files = {}
    try:
        for descriptor in os.scandir(f"/proc/{pid}/fd"):
            if os.readlink(descriptor.path).startswith(BACKEND):
                status = os.stat(descriptor.path)
                files[status.st_ino] = status.st_blocks * 512
    except (FileNotFoundError, ProcessLookupError):
        pass
    return sum(files.values())


class Sampler(threading.Thread):
    """Looks at a host's processes until it is stopped, and keeps the largest sum."""

    def __init__(self, namespace):
        super().__init__(daemon=True)
        self._namespace = namespace
        self._end = threading.Event()
        self.peak = {"total": 0}

    def run(self):
        daemons = self._namespace.pids_named("twinstepd")
        qemus = []
        while not self._end.wait(SAMPLE_S):
            qemus = qemus or self._namespace.pids_named(QEMU)
            now = {"guest_ram": sum(map(backend_bytes, qemus)), "qemu": sum(map(private_bytes, qemus)),
                   "daemon": sum(map(private_bytes, daemons))}
            now["total"] = sum(now.values())
            if now["total"] > self.peak["total"]:
                self.peak = now

    def stop(self):
        self._end.set()
        self.join()
        return self.peak


def tell_guest(lab, path):
    lab.network.client.run("curl", "-sf", "-m", FILL_TIMEOUT_S, f"http://{GUEST_ADDRESS.ip}{path}",
                           timeout_s=FILL_TIMEOUT_S + 5)


def main():
    arguments = figures.parser(__doc__).parse_args()
    conditions = figures.conditions()
    with Lab() as lab:
        hosts = scenarios.start_solo(lab, print, vm_settings={"memory": f"{RAM_MIB}M"},
                                     timing={"epoch_ms_max": EPOCH_MS})
        tell_guest(lab, f"/fill/{FILL_PAGES}")
        tell_guest(lab, f"/dirty/{DIRTY_RATE}/{DIRTY_PAGES}")
        sampler = Sampler(lab.network.hosts["b"])
        sampler.start()
        begin = time.monotonic()
        scenarios.protect(hosts, print)
        sync_s = time.monotonic() - begin
        time.sleep(SECONDS)
        peak = sampler.stop()
        checkpoints = hosts["a"].control("checkpoint")
    ram_bytes = RAM_MIB << 20
    result = {
        "conditions": conditions, "ram_mib": RAM_MIB, "guest_pages_used": FILL_PAGES,
        "checkpoints": len(checkpoints), "sync_s": round(sync_s, 1),
        "pages_dirty": figures.median([entry["pages_dirty"] for entry in checkpoints]),
        "pages_sent": figures.median([entry["pages_sent"] for entry in checkpoints]),
        "peak_bytes": peak, "secondary_over_guest_ram": round(peak["total"] / ram_bytes, 3),
    }
    print(f"peak of host b {peak['total'] / 2**20:.0f} MiB: the guest's RAM {peak['guest_ram'] / 2**20:.0f}, QEMU "
          f"{peak['qemu'] / 2**20:.0f}, twinstepd {peak['daemon'] / 2**20:.0f}; {result['checkpoints']} checkpoints of "
          f"{result['pages_dirty']} dirty pages")
    print(f"secondary over guest RAM {result['secondary_over_guest_ram']}")
    figures.write(arguments.json, result)


if __name__ == "__main__":
    main()
