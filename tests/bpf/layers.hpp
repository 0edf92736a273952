// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "packets.hpp"

namespace twinstep::test {

// Frames of every kind, put together layer by layer from the inside out. Lengths and checksums are right; a test that
// wants a wrong one writes it over.

/// The two ends of a packet. The first is the VM unless `to_vm`.
struct Ends {
  unsigned family = 4;
  bool to_vm = false;
};
Bytes vm_address(unsigned family);      ///< 10.1.0.1, 2001:db8::1
Bytes client_address(unsigned family);  ///< 10.1.0.2, 2001:db8::2

/// An IPv4 packet. fragment: the raw field of flags and offset. options: a multiple of 4 bytes.
struct Ip4 {
  Ends ends{};
  std::uint8_t protocol = 17;
  std::uint16_t fragment = 0;
  std::uint16_t id = 7;
  Bytes options{};
  std::optional<Bytes> destination{};
};
Bytes packet_of(const Ip4& ip, std::span<const std::byte> payload);

/// An IPv6 packet. payload begins with its extension headers, next names the first.
struct Ip6 {
  Ends ends{.family = 6};
  std::uint8_t next = 17;
  std::optional<Bytes> destination{};
};
Bytes packet_of(const Ip6& ip, std::span<const std::byte> payload);

/// Hop-by-hop, routing or destination options of (1 + extra) * 8 bytes, zero but for the first 4 (RFC 8200).
Bytes extension(std::uint8_t next, std::uint8_t extra = 0, std::uint8_t third = 1, std::uint8_t fourth = 4);
/// IPv6 fragment header. field: the raw field of offset and M.
Bytes fragment_header(std::uint8_t next, std::uint16_t field, std::uint32_t id = 1);

/// A TCP segment between the ends.
struct Stream {
  Ends ends{};
  std::uint32_t seq = 1000;
  std::uint32_t ack = 2000;
  std::uint8_t flags = 0x10;
  std::uint16_t window = 500;
  std::uint16_t urgent = 0;
  Bytes options{};  ///< a multiple of 4 bytes
  Bytes payload{};
};
Bytes segment_of(const Stream& stream);
Bytes datagram_of(Ends ends, std::span<const std::byte> payload, bool with_checksum = true);
/// ICMP or ICMPv6. rest: the 4 bytes behind the checksum.
Bytes icmp_of(Ends ends, std::uint8_t type, std::uint32_t rest, std::span<const std::byte> payload);

/// An 802.1Q tag in front of the EtherType; the outermost comes first.
struct Tag {
  std::uint16_t vlan = 0;
  std::uint16_t type = 0x8100;
};
/// The frame of an IP packet; ends say the MAC addresses.
Bytes frame_of(Ends ends, std::span<const std::byte> packet, std::vector<Tag> tags = {});

/// Whether the checksums of an IP packet are right, IPv4's own and the upper layer's (TCP, UDP, ICMP or ICMPv6),
/// computed from scratch. transport_offset: of the upper-layer header in the packet.
bool layers_right(std::span<const std::byte> packet, std::size_t transport_offset, unsigned protocol);

}  // namespace twinstep::test
