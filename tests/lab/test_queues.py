# SPDX-License-Identifier: Apache-2.0
"""An uplink and a link with several receive queues: streams that come by different ones survive the host."""

import re
import time
import unittest

from twinlab import faults, scenarios
from twinlab.lab import Lab, default_build_directory
from twinlab.system import wait_until

QUEUES = 4
STREAMS = 6
SECONDS = 10
TAKEOVER_TIMEOUT_S = 30


def queues_used(namespace, device):
    """The receive queues whose program has seen a frame."""
    statistics = namespace.run("ethtool", "-S", device)
    return {int(queue) for queue in re.findall(r"rx_queue_(\d+)_xdp_packets: [1-9]", statistics)}


class QueuesTest(unittest.TestCase):

    def test_streams_on_several_queues_survive_the_host(self):
        with Lab(queues=QUEUES) as lab:
            try:
                self._play(lab)
            except BaseException:
                lab.save_logs(f"{default_build_directory()}/lab-logs/test-queues")
                raise

    def _play(self, lab):
        hosts = scenarios.start_protected_pair(lab, print, timing={"epoch_ms_max": 500})
        nic = hosts["a"].control("nic", "show")[0]
        self.assertEqual((nic["uplink_queues"], nic["link_queues"]), (QUEUES, QUEUES))
        streams = [lab.client_program("stream", "--seconds", SECONDS, "--bytes-per-second", 1_000_000)
                   for _ in range(STREAMS)]
        wait_until(lambda: len(queues_used(hosts["a"].namespace, "up-a")) > 1, SECONDS / 2, "streams on several queues")
        time.sleep(SECONDS / 4)
        errors = hosts["a"].control("nic", "show")[0]["xdp"]
        self.assertEqual((errors["uplink_error"], errors["link_error"]), (0, 0))
        faults.lose_host(lab, hosts["a"])
        wait_until(hosts["b"].owns_vm, TAKEOVER_TIMEOUT_S, "host b owns the VM")
        for stream in streams:
            report = stream.report(60)
            self.assertEqual((report["failure"], report["bytes_wrong"]), ("none", 0))


if __name__ == "__main__":
    unittest.main()
