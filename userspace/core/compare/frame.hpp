// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

#include "bpf/abi/twinstep_packet.h"
#include "core/compare/digest.hpp"
#include "core/compare/flow_key.hpp"

namespace twinstep::compare {

/// Names one frame that user space holds (an address in UMEM, or a number in the simulator).
using FrameId = std::uint64_t;

/// TCP flags as they lie in the header (RFC 9293, 3.1).
inline constexpr std::uint8_t kFin = 0x01;
inline constexpr std::uint8_t kSyn = 0x02;
inline constexpr std::uint8_t kRst = 0x04;
inline constexpr std::uint8_t kPsh = 0x08;
inline constexpr std::uint8_t kAck = 0x10;

/// The parts of a TCP segment that the comparison needs. Numbers in host order.
struct TcpSegment {
  std::uint32_t seq = 0;
  std::uint32_t ack = 0;
  std::uint16_t window = 0;  ///< raw field, not scaled
  std::uint8_t flags = 0;
  std::optional<std::uint32_t> tsval;
  std::optional<std::uint8_t> window_scale;  ///< SYN only
  std::uint64_t syn_options = 0;             ///< SYN only: what of the options must agree, packed
  bool is_signed = false;  ///< SYN only: segments carry signatures over their sequence numbers (RFC 2385, RFC 5925)
};

/// What the comparison knows of one output frame of a VM. `payload` stays valid as long as the frame is held.
struct Frame {
  ts_class cls = TS_CLASS_OTHER;
  FlowKey flow;
  FlowId flow_id = 0;
  TcpSegment tcp;                      ///< cls == TS_CLASS_TCP
  std::span<const std::byte> payload;  ///< the compared bytes (see ts_frame_meta)
  Digest digest = 0;                   ///< of payload, reduced
  bool has_twin = false;               ///< the tap program has taken the SVM's record for this frame
};

/// Where the headers of an Ethernet frame lie that parse() accepts; ip_offset is 0 for a frame that is shorter than an
/// Ethernet header.
ts_packet layout_of(std::span<const std::byte> bytes);

/// Parses an Ethernet frame and joins it with the metadata that the tap program put in front of it. Never reads outside
/// `bytes`; a frame that contradicts its metadata is classed TS_CLASS_OTHER with a digest of its own.
Frame parse(std::span<const std::byte> bytes, const ts_frame_meta& meta, const DigestKey& key);

/// The same without metadata (tests, simulator, frames that did not pass the tap program).
Frame parse(std::span<const std::byte> bytes, const DigestKey& key);

/// a <= b in sequence space (RFC 9293, 3.4): wrap-safe for distances under 2^31.
constexpr bool seq_le(std::uint32_t a, std::uint32_t b) {
  return static_cast<std::int32_t>(b - a) >= 0;
}
constexpr bool seq_lt(std::uint32_t a, std::uint32_t b) {
  return static_cast<std::int32_t>(b - a) > 0;
}

}  // namespace twinstep::compare
