// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>
#include <string>

#include "core/result.hpp"

namespace twinstep::io {

using MacAddress = std::array<std::uint8_t, 6>;

/// As in "52:54:00:12:34:56".
std::string to_string(const MacAddress& mac);

/// Questions and settings of a network device of the calling thread's network namespace (netdevice(7)). Every error
/// names the device.
Result<int> device_index(const std::string& name);
Result<MacAddress> device_mac(const std::string& name);
/// Largest layer 3 packet, in bytes.
Result<unsigned> device_mtu(const std::string& name);
/// Whether the device is up and has a peer to talk to (IFF_UP and IFF_RUNNING).
Result<bool> device_carrier(const std::string& name);
/// Receive queues in use; 1 for a device that has no notion of them.
Result<unsigned> device_rx_queues(const std::string& name);
/// Those it will have with a native XDP program, as far as that differs: virtio_net adds one for each possible
/// processor if the device has that many left, and then receives by them, too (virtnet_xdp_set in the kernel).
Result<unsigned> device_rx_queues_with_xdp(const std::string& name);
Result<void> set_device_mtu(const std::string& name, unsigned mtu_bytes);
Result<void> set_device_up(const std::string& name);
/// The host's stack says nothing of its own on this device. A kernel without IPv6 has nothing to turn off.
void turn_ipv6_off(const std::string& name);

}  // namespace twinstep::io
