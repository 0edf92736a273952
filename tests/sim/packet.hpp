// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "core/compare/frame.hpp"

namespace twinstep::sim {

using Bytes = std::vector<std::byte>;
using compare::FlowKey;

/// One IPv4 packet between the client and a VM. Numbers in host order, except in `flow`.
struct Packet {
  enum class Kind : std::uint8_t { tcp, udp };
  Kind kind = Kind::tcp;
  FlowKey flow;
  std::uint32_t seq = 0;
  std::uint32_t ack = 0;
  std::uint16_t window = 0;
  std::uint8_t flags = 0;
  Bytes payload;

  // Not on the wire: what the sender knows and the checkers need. Positions count from the sender's and the receiver's
  // SYN, which has position 0, without wrapping.
  std::uint64_t position = 0;
  std::uint64_t ack_position = 0;

  bool has(std::uint8_t flag) const { return (flags & flag) != 0; }
  /// Sequence numbers it takes: payload, SYN and FIN.
  std::uint64_t length() const {
    return payload.size() + (has(compare::kSyn) ? 1U : 0U) + (has(compare::kFin) ? 1U : 0U);
  }
};

/// For traces and violations: flow, positions, numbers.
std::string describe(const Packet& packet);
/// The packet as the Ethernet frame that the VM sends. Checksums are left zero: nothing in a run looks at them.
Bytes encode(const Packet& packet);
/// A TCP packet from a frame that compare::parse() took apart.
Packet decode(const compare::Frame& frame);

}  // namespace twinstep::sim
