// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "core/compare/frame.hpp"

namespace twinstep::compare::testing {

using Bytes = std::vector<std::byte>;

Bytes bytes_of(std::string_view text);

/// What a TCP segment of the VM says; encode() makes the Ethernet frame with right checksums.
struct Segment {
  std::uint32_t seq = 0;
  std::uint32_t ack = 0;
  std::uint8_t flags = kAck;
  std::uint16_t window = 1000;
  Bytes payload{};
  std::optional<std::uint32_t> tsval{};
  std::optional<std::uint16_t> mss{};
  std::optional<std::uint8_t> window_scale{};
  bool sack_permitted = false;
  Bytes more_options{};  ///< raw
  std::uint16_t vm_port = 80;
  std::uint16_t peer_port = 4242;
};

Bytes encode(const Segment& segment);
Bytes encode_udp(std::string_view payload, std::uint16_t peer_port = 53);
Bytes encode_ethernet(std::uint16_t ether_type, std::string_view payload, bool multicast = false);

FlowKey flow_of(const Segment& segment);

/// The internet checksum over TCP pseudo header and segment, and over the IPv4 header, are right.
bool checksums_are_right(std::span<const std::byte> frame);

/// The metadata that the tap program puts in front of a frame of this content.
ts_frame_meta meta_of(std::span<const std::byte> frame, const DigestKey& key);

}  // namespace twinstep::compare::testing
