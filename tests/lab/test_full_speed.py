# SPDX-License-Identifier: Apache-2.0
"""End to end at full speed: what curl downloads and uploads is right although the guest's QEMU dies under it."""

import json
import pathlib
import random
import subprocess
import tempfile
import time
import unittest

from twinlab import content, faults, scenarios
from twinlab.lab import Lab, default_build_directory

DOWNLOAD_BYTES = 150_000_000
UPLOAD_BYTES = 10_000_000
SEED = 3
GUEST = "http://10.77.0.10"
TRANSFER_TIMEOUT_S = 90


class FullSpeedTest(unittest.TestCase):

    def test_transfers_are_right_when_qemu_dies_under_them(self):
        with tempfile.TemporaryDirectory() as directory, Lab() as lab:
            try:
                self._transfer(lab, pathlib.Path(directory))
            except BaseException:
                lab.save_logs(f"{default_build_directory()}/lab-logs/test-full-speed")
                raise

    def _transfer(self, lab, directory):
        hosts = scenarios.start_protected_pair(lab, print)
        upload = random.Random(SEED).randbytes(UPLOAD_BYTES)
        (directory / "upload").write_bytes(upload)
        curl = ("curl", "--silent", "--fail", "--max-time", TRANSFER_TIMEOUT_S)
        client = lab.network.client
        down = client.start(*curl, "--output", directory / "download", f"{GUEST}/bytes/{DOWNLOAD_BYTES}?seed={SEED}")
        up = client.start(*curl, "--upload-file", directory / "upload", f"{GUEST}/upload", stdout=subprocess.PIPE)
        time.sleep(random.uniform(0.5, 2.0))
        self.assertIsNone(down.poll(), "the download was over before the fault")
        faults.crash_qemu(lab, hosts["a"])
        answer, _ = up.communicate(timeout=TRANSFER_TIMEOUT_S)
        self.assertEqual(down.wait(TRANSFER_TIMEOUT_S), 0)
        self.assertEqual(up.returncode, 0)
        self.assertEqual((directory / "download").read_bytes(), content.content(SEED, DOWNLOAD_BYTES))
        self.assertEqual(json.loads(answer), {"bytes": UPLOAD_BYTES, "fnv1a64": f"{content.fnv1a64(upload):016x}"})
        self.assertEqual(scenarios.owner_of(hosts), "b")


if __name__ == "__main__":
    unittest.main()
