# SPDX-License-Identifier: Apache-2.0
"""The lab's wires.

    client 10.77.0.1 --- switch (bridge) --- up-a  host a  link-a 10.78.0.1
                                  \\                               |
                                   `-------- up-b  host b  link-b 10.78.0.2

The guest is 10.77.0.10, behind the uplink of whichever host runs it. With `wire` the link goes through a namespace of its
own, so that frames can be lost on it:

    host a  link-a --- wire-a (bridge) wire-b --- link-b  host b
"""

import ipaddress

from twinlab.namespaces import Namespace
from twinlab.vlan import VlanDevice

CLIENT_ADDRESS = ipaddress.ip_interface("10.77.0.1/24")
GUEST_ADDRESS = ipaddress.ip_interface("10.77.0.10/24")
# Of guests that speak every protocol.
CLIENT_ADDRESS6 = ipaddress.ip_interface("fd77::1/64")
GUEST_ADDRESS6 = ipaddress.ip_interface("fd77::10/64")
VLAN = 5
CLIENT_VLAN_ADDRESS = ipaddress.ip_interface("10.79.0.1/24")
GUEST_VLAN_ADDRESS = ipaddress.ip_interface("10.79.0.10/24")
GUEST_MAC = "52:54:00:77:00:10"
# Of the guest's second NIC, if it has one.
CLIENT_ADDRESS_1 = ipaddress.ip_interface("10.80.0.1/24")
GUEST_ADDRESS_1 = ipaddress.ip_interface("10.80.0.10/24")
GUEST_MAC_1 = "52:54:00:77:00:11"
# Of a second VM, if the hosts have one.
NEIGHBOUR_ADDRESS = ipaddress.ip_interface("10.77.0.20/24")
NEIGHBOUR_MAC = "52:54:00:77:00:20"
LINK_ADDRESSES = {"a": ipaddress.ip_interface("10.78.0.1/24"), "b": ipaddress.ip_interface("10.78.0.2/24")}
# Room for an uplink frame and its encapsulation.
UPLINK_MTU = 1500
LINK_MTU = 1600
HOSTS = ("a", "b")


class Network:
    """The four namespaces and the veth pairs between them."""

    def __init__(self, prefix, wire=False, queues=1):
        """queues: of each device between the client and the hosts, and of the link, each way."""
        self._queues = ("numrxqueues", queues, "numtxqueues", queues)
        self.client = Namespace(f"{prefix}-client")
        self.switch = Namespace(f"{prefix}-switch")
        self.hosts = {host: Namespace(f"{prefix}-{host}") for host in HOSTS}
        self.wire = Namespace(f"{prefix}-wire") if wire else None
        self._uplinks = ["up"]

    def namespaces(self):
        return [self.client, self.switch, *self.hosts.values(), *([self.wire] if self.wire else [])]

    def create(self):
        for namespace in self.namespaces():
            namespace.create()
        self._create_switch()
        self._plug_into_switch(self.client, "client0", "to-client")
        for host, namespace in self.hosts.items():
            self._plug_into_switch(namespace, f"up-{host}", f"to-{host}")
        self.client.run("ip", "address", "add", str(CLIENT_ADDRESS), "dev", "client0")
        self._create_link()

    def add_client_protocols(self):
        """Gives the client an IPv6 address and an interface in the VLAN."""
        device = "client0"
        self.client.run("sysctl", "-qw", f"net.ipv6.conf.{device}.accept_dad=0", f"net.ipv6.conf.{device}.disable_ipv6=0")
        self.client.run("ip", "address", "add", str(CLIENT_ADDRESS6), "dev", device)
        VlanDevice(self.client, device, "vlan0", VLAN).start()
        self.client.run("ip", "address", "add", str(CLIENT_VLAN_ADDRESS), "dev", "vlan0")

    def add_second_uplink(self):
        """A switch of its own, client1 at the client and up2-a and up2-b at the hosts."""
        _add_bridge(self.switch, "br1")
        self._plug_into_switch(self.client, "client1", "to-client1", "br1")
        for host, namespace in self.hosts.items():
            self._plug_into_switch(namespace, f"up2-{host}", f"to2-{host}", "br1")
        self.client.run("ip", "address", "add", str(CLIENT_ADDRESS_1), "dev", "client1")
        self._uplinks.append("up2")

    def host_loses_power(self, host):
        """What the others see of it: its uplinks and its link have no carrier any more."""
        self._set_uplinks(host, "down")
        self.cut_link(host)

    def host_gets_power(self, host):
        self._set_uplinks(host, "up")
        self.restore_link(host)

    def _set_uplinks(self, host, state):
        for uplink in self._uplinks:
            self.hosts[host].run("ip", "link", "set", f"{uplink}-{host}", state)

    def set_mtu(self, uplink_mtu):
        """Of everything between the client and the hosts, and of the link, which needs a little more."""
        self.switch.run("ip", "link", "set", "br0", "mtu", uplink_mtu)
        for namespace, device, port in [(self.client, "client0", "to-client"),
                                        *((self.hosts[host], f"up-{host}", f"to-{host}") for host in HOSTS)]:
            self.switch.run("ip", "link", "set", port, "mtu", uplink_mtu)
            namespace.run("ip", "link", "set", device, "mtu", uplink_mtu)
        for host in HOSTS:
            self.hosts[host].run("ip", "link", "set", f"link-{host}", "mtu", uplink_mtu + LINK_MTU - UPLINK_MTU)

    def cut_link(self, host="a"):
        self.hosts[host].run("ip", "link", "set", f"link-{host}", "down")

    def restore_link(self, host="a"):
        self.hosts[host].run("ip", "link", "set", f"link-{host}", "up")

    def limit_link(self, host, rate):
        """What the host's stack sends over the link takes this rate (tc's notation) at most."""
        self.hosts[host].run("tc", "qdisc", "replace", "dev", f"link-{host}", "root", "tbf", "rate", rate, "burst", "64kb",
                             "latency", "50ms")

    def limit_port(self, host, port, rate):
        """The same, of what it sends to one TCP port; all else goes as before."""
        device = f"link-{host}"
        run = self.hosts[host].run
        run("tc", "qdisc", "replace", "dev", device, "root", "handle", "1:", "htb", "default", "1")
        for number, limit in ((1, "10gbit"), (2, rate)):
            run("tc", "class", "replace", "dev", device, "parent", "1:", "classid", f"1:{number}", "htb", "rate", limit)
        run("tc", "filter", "add", "dev", device, "parent", "1:", "protocol", "ip", "u32", "match", "ip", "dport", port,
            "0xffff", "flowid", "1:2")

    def unlimit_link(self, host):
        self.hosts[host].run("tc", "qdisc", "delete", "dev", f"link-{host}", "root")

    def bridge_tap(self, host, tap):
        """Joins a tap with the uplink by a plain bridge, as a host without Twinstep does."""
        namespace = self.hosts[host]
        namespace.run("ip", "tuntap", "add", "dev", tap, "mode", "tap")
        _add_bridge(namespace, "br0")
        for device in (tap, f"up-{host}"):
            namespace.run("ip", "link", "set", device, "master", "br0", "up")

    def _create_switch(self):
        _add_bridge(self.switch, "br0")

    def _plug_into_switch(self, namespace, device, port, bridge="br0"):
        self.switch.run("ip", "link", "add", port, *self._queues, "type", "veth", "peer", "name", device, *self._queues,
                        "netns", namespace.name)
        self.switch.run("ip", "link", "set", port, "master", bridge, "up")
        namespace.run("ip", "link", "set", device, "up")
        _prepare_for_xdp(self.switch, port)
        _prepare_for_xdp(namespace, device)

    def _create_link(self):
        if self.wire:
            self._create_wire()
        else:
            a, b = self.hosts["a"], self.hosts["b"]
            a.run("ip", "link", "add", "link-a", "mtu", LINK_MTU, *self._queues, "type", "veth", "peer", "name",
                  "link-b", "mtu", LINK_MTU, *self._queues, "netns", b.name)
        for host, namespace in self.hosts.items():
            device = f"link-{host}"
            namespace.run("ip", "address", "add", str(LINK_ADDRESSES[host]), "dev", device)
            namespace.run("ip", "link", "set", device, "up")
            _prepare_for_xdp(namespace, device)


    def _create_wire(self):
        _add_bridge(self.wire, "br0")
        for host, namespace in self.hosts.items():
            port = f"wire-{host}"
            namespace.run("ip", "link", "add", f"link-{host}", "mtu", LINK_MTU, "type", "veth", "peer", "name", port,
                          "mtu", LINK_MTU, "netns", self.wire.name)
            self.wire.run("ip", "link", "set", port, "master", "br0", "up")
            _prepare_for_xdp(self.wire, port)


def _add_bridge(namespace, name):
    namespace.run("ip", "link", "add", name, "type", "bridge", "stp_state", "0", "forward_delay", "0",
                  "mcast_snooping", "0")
    namespace.run("ip", "link", "set", name, "up")


def _prepare_for_xdp(namespace, device):
    """A veth takes frames by native XDP redirect only with GRO on, hands XDP whole checksums only with tx off, and VLAN
    tags in the frame, where XDP sees them, only with txvlan off."""
    namespace.run("ethtool", "-K", device, "gro", "on", "tx", "off", "txvlan", "off")
