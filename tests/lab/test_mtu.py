# SPDX-License-Identifier: Apache-2.0
"""Frames larger than Ethernet's: as large as one page allows, larger, and what is refused."""

import json
import pathlib
import platform
import random
import tempfile
import unittest

from twinlab import content, faults, scenarios
from twinlab.lab import Lab, default_build_directory
from twinlab.system import wait_until

MTU = 3400
MTU_MAX = 9000
BYTES = 20_000_000
UPLOAD_BYTES = 5_000_000
IP_UDP_BYTES = 28
GUEST = "http://10.77.0.10"
START_TIMEOUT_S = 20


def has_frames_of_several_buffers():
    """XDP_USE_SG came with Linux 6.6."""
    return tuple(int(part) for part in platform.release().split(".")[:2]) >= (6, 6)


class MtuTest(unittest.TestCase):

    def run_in_lab(self, mtu, play):
        with Lab() as lab:
            lab.network.set_mtu(mtu)
            try:
                play(lab)
            except BaseException:
                lab.save_logs(f"{default_build_directory()}/lab-logs/{self.id().rsplit('.', 1)[-1]}")
                raise

    def test_large_frames_survive_the_host(self):
        self.run_in_lab(MTU, lambda lab: self._transfer(lab, MTU))

    @unittest.skipUnless(has_frames_of_several_buffers(), "AF_XDP frames in several buffers (XDP_USE_SG) need Linux 6.6")
    def test_frames_of_several_buffers_survive_the_host(self):
        self.run_in_lab(MTU_MAX, lambda lab: self._transfer(lab, MTU_MAX))

    def _transfer(self, lab, mtu):
        hosts = scenarios.start_protected_pair(lab, print)
        echo = lab.client_program("udp", "--seconds", 2, "--bytes", mtu - IP_UDP_BYTES)
        before = self._sent(lab)
        size = lab.network.client.run("curl", "-s", "-f", "-m", "60", "-o", "/dev/null", "-w", "%{size_download}",
                                      f"{GUEST}/bytes/{BYTES}?seed=1", timeout_s=70)
        self.assertEqual(int(size), BYTES)
        after = self._sent(lab)
        frame_bytes = (after["bytes"] - before["bytes"]) / (after["packets"] - before["packets"])
        self.assertGreater(frame_bytes, 0.9 * mtu, "the guest must have filled its frames")
        upload = random.Random(1).randbytes(UPLOAD_BYTES)
        with tempfile.TemporaryDirectory() as directory:
            file = pathlib.Path(directory) / "upload"
            file.write_bytes(upload)
            answer = json.loads(lab.network.client.run("curl", "-s", "-f", "-m", "60", "--upload-file", file,
                                                       f"{GUEST}/upload", timeout_s=70))
        self.assertEqual(answer, {"bytes": UPLOAD_BYTES, "fnv1a64": f"{content.fnv1a64(upload):016x}"})
        datagrams = echo.report()
        self.assertEqual(datagrams["wrong"], 0)
        self.assertLess(datagrams["lost"], datagrams["sent"] / 2)
        self.assertEqual(hosts["a"].control("nic", "show")[0]["xdp"]["tap_error"], 0)

        stream = lab.client_program("stream", "--seconds", 8, "--bytes-per-second", 2_000_000)
        faults.lose_host(lab, hosts["a"])
        wait_until(hosts["b"].owns_vm, START_TIMEOUT_S, "host b owns the VM")
        report = stream.report(60)
        self.assertEqual((report["failure"], report["bytes_wrong"]), ("none", 0))

    @staticmethod
    def _sent(lab):
        shown = json.loads(lab.network.hosts["a"].run("ip", "-s", "-j", "link", "show", "dev", "up-a"))
        return shown[0]["stats64"]["tx"]

    def test_what_is_larger_still_is_refused(self):
        self.run_in_lab(MTU_MAX + 100, self._refuse)

    def _refuse(self, lab):
        hosts = lab.twinstep_hosts()
        hosts["a"].start(lab.image)
        remedy = f"ip link set up-a mtu {MTU_MAX}"
        wait_until(lambda: remedy in hosts["a"].log.read_text(encoding="utf-8"), START_TIMEOUT_S,
                   "host a says why it can't")


if __name__ == "__main__":
    unittest.main()
