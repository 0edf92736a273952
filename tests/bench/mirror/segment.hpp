// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <compare>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

namespace twinstep::bench {

using Bytes = std::vector<std::byte>;

/// A TCP connection over IPv4 as seen from the VM. Host order.
struct ConnectionKey {
  std::uint32_t vm = 0;
  std::uint32_t client = 0;
  std::uint16_t client_port = 0;
  std::uint16_t vm_port = 0;
  auto operator<=>(const ConnectionKey&) const = default;  // NOLINT(modernize-use-nullptr): a false alarm
};

/// What is read of a TCP segment over IPv4 (RFC 9293, 3.1). The frame may be cut behind the headers.
struct Segment {
  ConnectionKey key;
  std::uint32_t seq = 0;
  std::uint32_t ack = 0;
  std::uint32_t payload_bytes = 0;
  std::uint16_t window = 0;
  std::uint8_t flags = 0;
  std::uint8_t window_scale = 0;       ///< SYN only
  std::optional<std::uint32_t> tsval;  ///< SYN only
  std::size_t tcp_offset = 0;          ///< in the frame
  std::size_t tsecr_offset = 0;        ///< in the frame; 0: no timestamps
  std::size_t headers_bytes = 0;       ///< of the frame, up to the payload

  bool has(std::uint8_t flag) const { return (flags & flag) != 0; }
  std::uint32_t end() const;
};

/// Nothing: the frame is no whole TCP segment over untagged IPv4.
std::optional<Segment> parse_segment(std::span<const std::byte> frame, bool from_vm);

/// Changes 32 bits of the TCP header, and the checksum with them (RFC 1624).
void replace32(Bytes& frame, const Segment& segment, std::size_t offset, std::uint32_t value);

/// The segment as a pure acknowledgement of `ack`.
Bytes make_ack(const Bytes& frame, const Segment& segment, std::uint32_t ack);

}  // namespace twinstep::bench
