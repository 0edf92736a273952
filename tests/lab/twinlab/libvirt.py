# SPDX-License-Identifier: Apache-2.0
"""libvirt as the virtual lab uses it: running, with a pool of the lab's own, and everything of the lab's removed again.

Where no libvirtd runs, as in a container, the lab starts one and ends it. All that the lab makes has a name that
begins with `twinstep-`.
"""

import contextlib
import fcntl
import grp
import json
import os
import pathlib
import shutil
import stat

from twinlab.system import LabError, kill, process_name, run, start_time, wait_until

URI = "qemu:///system"
PREFIX = "twinstep-"
# QEMU's user must be able to go through it.
STATE_DIRECTORY = pathlib.Path("/var/lib/twinstep-lab")
POOL = "twinstep-lab"
DAEMONS = ("virtlogd", "libvirtd")
START_TIMEOUT_S = 30
COMMAND_TIMEOUT_S = 120
KVM = pathlib.Path("/dev/kvm")


def virsh(*words, **options):
    return run("virsh", "--connect", URI, "--quiet", *words, timeout_s=COMMAND_TIMEOUT_S, **options)


def _names(*words):
    return [name for name in virsh(*words, "--name", check=False).split() if name.startswith(PREFIX)]


def _answers():
    try:
        virsh("version")
        return True
    except LabError:
        return False


class Record:
    """Who uses the virtual lab and what was started for it; written before it is made, so that the next run finds it."""

    def __init__(self):
        self._file = STATE_DIRECTORY / "record.json"
        self._lock = None

    def take(self):
        """Makes this process the lab's owner. What an owner that is dead has left is removed first."""
        STATE_DIRECTORY.mkdir(mode=0o755, exist_ok=True)
        self._lock = open(STATE_DIRECTORY / "lock", "w", encoding="utf-8")  # held as long as the process lives
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise LabError(f"another process uses the virtual lab: wait for it, or see who holds {self._lock.name}"
                           ) from None
        if self._file.exists():
            self.remove_lab()
            STATE_DIRECTORY.mkdir(mode=0o755, exist_ok=True)
        self._write({"processes": [], "kvm": None})

    def start_libvirt(self):
        """Does nothing where libvirtd runs already."""
        if _answers():
            return
        self._share_kvm()
        for daemon in DAEMONS:
            run(f"/usr/sbin/{daemon}", "--daemon", timeout_s=START_TIMEOUT_S)
            pid = int(pathlib.Path(f"/run/{daemon}.pid").read_text(encoding="ascii"))
            self._add("processes", [pid, start_time(pid)])
        wait_until(_answers, START_TIMEOUT_S, "libvirtd answers")

    def make_pool(self):
        images = STATE_DIRECTORY / "images"
        images.mkdir(mode=0o755, exist_ok=True)
        virsh("pool-define-as", POOL, "dir", "--target", str(images))
        virsh("pool-start", POOL)

    def remove_lab(self):
        """Removes all of the lab: machines, networks, images, files, and the daemons that were started for it."""
        record = json.loads(self._file.read_text(encoding="utf-8"))
        if _answers():
            self._remove_from_libvirt()
        for pid, start in reversed(record["processes"]):
            if start_time(pid) == start and process_name(pid) in DAEMONS:
                kill(pid, 15)
                wait_until(lambda pid=pid, start=start: start_time(pid) != start, START_TIMEOUT_S, f"end of {pid}")
        if record["kvm"]:
            mode, group = record["kvm"]
            os.chown(KVM, -1, group)
            os.chmod(KVM, mode)
        for entry in STATE_DIRECTORY.iterdir():
            if entry.is_dir():
                shutil.rmtree(entry, ignore_errors=True)
        self._file.unlink()

    @staticmethod
    def _remove_from_libvirt():
        for domain in _names("list", "--all"):
            virsh("destroy", domain, check=False)
            virsh("undefine", domain, "--managed-save", "--snapshots-metadata", check=False)
        for network in _names("net-list", "--all"):
            virsh("net-destroy", network, check=False)
            virsh("net-undefine", network, check=False)
        if POOL in virsh("pool-list", "--all", "--name").split():
            virsh("pool-destroy", POOL, check=False)
            virsh("pool-undefine", POOL)

    def _share_kvm(self):
        """/dev/kvm of group kvm, as udev has it. libvirt otherwise probes QEMU anew at each call, 10 s each time."""
        with contextlib.suppress(FileNotFoundError, KeyError):
            state = KVM.stat()
            group = grp.getgrnam("kvm").gr_gid
            if state.st_gid != group:
                self._write(self._read() | {"kvm": [stat.S_IMODE(state.st_mode), state.st_gid]})
                os.chown(KVM, -1, group)
                os.chmod(KVM, 0o660)

    def _add(self, key, value):
        record = self._read()
        record[key].append(value)
        self._write(record)

    def _read(self):
        return json.loads(self._file.read_text(encoding="utf-8"))

    def _write(self, record):
        temporary = self._file.with_suffix(".new")
        temporary.write_text(json.dumps(record), encoding="utf-8")
        temporary.rename(self._file)
