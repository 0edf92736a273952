// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <compare>
#include <cstdint>
#include <cstring>
#include <string>

#include "bpf/abi/twinstep_abi.h"

namespace twinstep::compare {

/// A flow seen from the VM, on every host the same: ts_flow_key without the slot.
struct FlowKey : ts_flow_key {
  FlowKey() : ts_flow_key() {}
  // NOLINTNEXTLINE(google-explicit-constructor,hicpp-explicit-conversions): it is the same thing
  FlowKey(const ts_flow_key& key) : ts_flow_key(key) { slot = 0; }

  /// A TCP connection over IPv4. Network order.
  static FlowKey tcp4(std::uint32_t vm_addr_be, std::uint32_t peer_addr_be, std::uint16_t vm_port_be,
                      std::uint16_t peer_port_be);

  friend bool operator==(const FlowKey& a, const FlowKey& b) { return std::memcmp(&a, &b, sizeof a) == 0; }
  friend std::strong_ordering operator<=>(const FlowKey& a, const FlowKey& b) {
    return std::memcmp(&a, &b, sizeof a) <=> 0;
  }
};
static_assert(sizeof(FlowKey) == sizeof(ts_flow_key), "compared byte by byte, so it has no padding");

/// The number that names a flow on the link (ts_flow_id). Keyed: nobody outside can make two flows share one.
using FlowId = std::uint64_t;

/// The addresses as text (RFC 5952 for IPv6); empty if the flow isn't IP's.
std::string vm_address(const FlowKey& flow);
std::string peer_address(const FlowKey& flow);
/// "VLAN 5 " for each tag, outer first; empty without.
std::string vlan_text(const FlowKey& flow);
/// For the journal.
std::string describe(const FlowKey& flow);

}  // namespace twinstep::compare
