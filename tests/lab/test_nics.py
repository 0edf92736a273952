# SPDX-License-Identifier: Apache-2.0
"""A guest with two NICs: what each carries is compared, diverges and outlives a failover; and pairs whose NICs differ."""

import time
import unittest

from twinlab import faults, scenarios
from twinlab.lab import Lab, default_build_directory
from twinlab.network import CLIENT_ADDRESS_1, GUEST_ADDRESS, GUEST_ADDRESS_1, GUEST_MAC, GUEST_MAC_1
from twinlab.system import wait_until
from twinlab.traffic import TIMEOUT_S, Stream, clock_by_tcp, clock_by_udp

ADDRESSES = (GUEST_ADDRESS, GUEST_ADDRESS_1)
ON_TWO_UPLINKS = ({}, {"uplink": "up2-{host}"})
ON_ONE_UPLINK = ({}, {})
FAULT_AFTER_S = 4
START_TIMEOUT_S = 20
TAKEOVER_TIMEOUT_S = 30
CLOCKS = 3


class NicsTest(unittest.TestCase):

    def run_in_lab(self, play):
        with Lab() as lab:
            lab.image.second_nic = True
            try:
                play(lab)
            except BaseException:
                lab.save_logs(f"{default_build_directory()}/lab-logs/{self.id().rsplit('.', 1)[-1]}")
                raise

    def test_connections_over_both_nics_outlive_the_vm(self):
        self.run_in_lab(self._on_two_uplinks)

    def _on_two_uplinks(self, lab):
        lab.network.add_second_uplink()
        hosts = scenarios.start_protected_pair(lab, print, nics=ON_TWO_UPLINKS)
        for nic in range(len(ADDRESSES)):
            with self.subTest(nic=nic):
                self._diverge(lab, hosts["a"], nic)
        self._stream_through(lab, hosts, lambda: scenarios.fail_over(lab, hosts, "a", "crash", print),
                             ("up-a", "up2-a"))

    def test_connections_over_both_nics_of_one_uplink_outlive_the_host(self):
        self.run_in_lab(self._on_one_uplink)

    def _on_one_uplink(self, lab):
        lab.network.client.run("ip", "address", "add", str(CLIENT_ADDRESS_1), "dev", "client0")
        hosts = scenarios.start_protected_pair(lab, print, nics=ON_ONE_UPLINK)

        def lose_host():
            faults.lose_host(lab, hosts["a"])
            wait_until(hosts["b"].owns_vm, TAKEOVER_TIMEOUT_S, "host b owns the VM")

        self._stream_through(lab, hosts, lose_host, ("up-a", "up-a"))

    def _diverge(self, lab, host, nic):
        """The two VMs' clocks differ, and whichever NIC tells one: the whole VM gets a checkpoint."""
        for cause, ask in (("content", clock_by_tcp), ("datagram", clock_by_udp)):
            before = host.vm()["checkpoints_by_cause"].get(cause, 0)
            with lab.network.client.entered():
                clocks = [ask(ADDRESSES[nic]) for _ in range(CLOCKS)]
            self.assertEqual(clocks, sorted(set(clocks)), "one VM's clock, which goes forward")
            self.assertGreater(host.vm()["checkpoints_by_cause"].get(cause, 0), before)
            self.assertIn(f"diverged on NIC {nic} ({cause})", host.log.read_text(encoding="utf-8"))

    def _stream_through(self, lab, hosts, fault, uplinks):
        with lab.network.client.entered():
            streams = [Stream(address, seed) for seed, address in enumerate(ADDRESSES, 1)]
            for stream in streams:
                stream.start()
        time.sleep(FAULT_AFTER_S)
        nics, flows = hosts["a"].control("nic", "show"), hosts["a"].control("flow", "show")
        vm = hosts["a"].vm()
        fault()
        for stream in streams:
            stream.join(TIMEOUT_S)
        print(f"checkpoints {vm['checkpoints_by_cause']}, pause {vm['pause_ns_p50'] / 1e6:.1f} ms; released on arrival " +
              ", ".join(f"{nic['frames_released_on_arrival']} of {nic['frames_released']}" for nic in nics))

        self.assertEqual([stream.wrong for stream in streams], [None, None])
        self.assertEqual(vm["nics"], [GUEST_MAC, GUEST_MAC_1])
        self.assertEqual([(nic["nic"], nic["mac"], nic["uplink"]) for nic in nics],
                         [(0, GUEST_MAC, uplinks[0]), (1, GUEST_MAC_1, uplinks[1])])
        for nic, address in enumerate(ADDRESSES):
            self.assertIn((nic, str(address.ip)), [(flow["nic"], flow["vm_addr"]) for flow in flows])
            self.assertGreater(nics[nic]["frames_released"], 0)
        self.assertEqual(scenarios.owner_of(hosts), "b")
        self.assertEqual([nic["nic"] for nic in hosts["b"].control("nic", "show")], [0, 1])

    def test_hosts_with_other_nics_are_no_pair(self):
        self.run_in_lab(self._one_host_lacks_a_nic)

    def _one_host_lacks_a_nic(self, lab):
        hosts = lab.twinstep_hosts()
        hosts["a"].start(lab.image, nics=ON_ONE_UPLINK)
        hosts["b"].start(lab.image)
        wait_until(lambda: hosts["a"].is_refused("make memory, qemu_args and the NICs' mac, model and vhost_net equal"),
                   START_TIMEOUT_S, "host b refuses to stand by")


if __name__ == "__main__":
    unittest.main()
