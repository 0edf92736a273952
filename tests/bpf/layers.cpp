// SPDX-License-Identifier: Apache-2.0
#include "layers.hpp"

namespace twinstep::test {
namespace {

constexpr std::uint8_t kIcmp = 1;
constexpr std::uint8_t kTcp = 6;
constexpr std::uint8_t kUdp = 17;
constexpr std::uint8_t kIcmp6 = 58;

/// Ones' complement sum (RFC 1071), a byte at a time.
std::uint16_t sum_of(std::initializer_list<std::span<const std::byte>> parts, std::uint32_t sum = 0) {
  for (const auto& part : parts)
    for (std::size_t i = 0; i < part.size(); ++i)
      sum += std::to_integer<std::uint32_t>(part[i]) << (i % 2 == 0 ? 8 : 0);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >> 16);
  return static_cast<std::uint16_t>(sum);
}

Bytes source_of(Ends ends) {
  return ends.to_vm ? client_address(ends.family) : vm_address(ends.family);
}
Bytes destination_of(Ends ends) {
  return ends.to_vm ? vm_address(ends.family) : client_address(ends.family);
}

void put_checksum(Bytes& body, std::size_t at, Ends ends, std::uint8_t protocol) {
  const auto pseudo = static_cast<std::uint32_t>(protocol + body.size());
  put16(body, at, static_cast<std::uint16_t>(~sum_of({source_of(ends), destination_of(ends), body}, pseudo)));
}

}  // namespace

Bytes vm_address(unsigned family) {
  if (family == 4) return bytes_of({10, 1, 0, 1});
  return bytes_of({0x20, 1, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1});
}

Bytes client_address(unsigned family) {
  Bytes address = vm_address(family);
  address.back() = std::byte{2};
  return address;
}

Bytes packet_of(const Ip4& ip, std::span<const std::byte> payload) {
  Bytes header(12);
  header[0] = static_cast<std::byte>(0x40 | (5 + ip.options.size() / 4));
  put16(header, 2, static_cast<std::uint16_t>(20 + ip.options.size() + payload.size()));
  put16(header, 4, ip.id);
  put16(header, 6, ip.fragment);
  header[8] = std::byte{64};
  header[9] = std::byte{ip.protocol};
  header = concat({header, source_of(ip.ends), ip.destination.value_or(destination_of(ip.ends)), ip.options});
  put16(header, 10, static_cast<std::uint16_t>(~sum_of({header})));
  return concat({header, payload});
}

Bytes packet_of(const Ip6& ip, std::span<const std::byte> payload) {
  Bytes header(8);
  header[0] = std::byte{0x60};
  put16(header, 4, static_cast<std::uint16_t>(payload.size()));
  header[6] = std::byte{ip.next};
  header[7] = std::byte{64};
  return concat({header, source_of(ip.ends), ip.destination.value_or(destination_of(ip.ends)), payload});
}

Bytes extension(std::uint8_t next, std::uint8_t extra, std::uint8_t third, std::uint8_t fourth) {
  Bytes header((1 + std::size_t{extra}) * 8);
  header[0] = std::byte{next};
  header[1] = std::byte{extra};
  header[2] = std::byte{third};
  header[3] = std::byte{fourth};
  return header;
}

Bytes fragment_header(std::uint8_t next, std::uint16_t field, std::uint32_t id) {
  Bytes header(8);
  header[0] = std::byte{next};
  put16(header, 2, field);
  put32(header, 4, id);
  return header;
}

Bytes segment_of(const Stream& stream) {
  Bytes segment(20);
  put16(segment, 0, stream.ends.to_vm ? kClientPort : kVmPort);
  put16(segment, 2, stream.ends.to_vm ? kVmPort : kClientPort);
  put32(segment, 4, stream.seq);
  put32(segment, 8, stream.ack);
  segment[12] = static_cast<std::byte>((5 + stream.options.size() / 4) << 4);
  segment[13] = std::byte{stream.flags};
  put16(segment, 14, stream.window);
  put16(segment, 18, stream.urgent);
  segment = concat({segment, stream.options, stream.payload});
  put_checksum(segment, 16, stream.ends, kTcp);
  return segment;
}

Bytes datagram_of(Ends ends, std::span<const std::byte> payload, bool with_checksum) {
  Bytes datagram(8);
  put16(datagram, 0, 5000);
  put16(datagram, 2, 5001);
  put16(datagram, 4, static_cast<std::uint16_t>(8 + payload.size()));
  datagram = concat({datagram, payload});
  if (with_checksum) put_checksum(datagram, 6, ends, kUdp);
  return datagram;
}

Bytes icmp_of(Ends ends, std::uint8_t type, std::uint32_t rest, std::span<const std::byte> payload) {
  Bytes message(8);
  message[0] = std::byte{type};
  put32(message, 4, rest);
  message = concat({message, payload});
  if (ends.family == 6)
    put_checksum(message, 2, ends, kIcmp6);
  else
    put16(message, 2, static_cast<std::uint16_t>(~sum_of({message})));
  return message;
}

Bytes frame_of(Ends ends, std::span<const std::byte> packet, std::vector<Tag> tags) {
  const std::uint16_t ether_type = ends.family == 6 ? 0x86dd : 0x0800;
  Bytes body;
  for (std::size_t i = 0; i < tags.size(); ++i) {
    Bytes tag(4);
    put16(tag, 0, tags[i].vlan);
    put16(tag, 2, i + 1 < tags.size() ? tags[i + 1].type : ether_type);
    body = concat({body, tag});
  }
  body = concat({body, packet});
  const std::uint16_t first = tags.empty() ? ether_type : tags[0].type;
  return ends.to_vm ? ethernet(kVmMac, kClientMac, first, body) : ethernet(kClientMac, kVmMac, first, body);
}

bool layers_right(std::span<const std::byte> packet, std::size_t transport_offset, unsigned protocol) {
  const bool six = (packet[0] & std::byte{0xf0}) == std::byte{0x60};
  const auto addresses = six ? packet.subspan(8, 32) : packet.subspan(12, 8);
  const auto body = packet.subspan(transport_offset);
  if (!six && sum_of({packet.first(transport_offset)}) != 0xffff) return false;
  if (protocol == kIcmp) return sum_of({body}) == 0xffff;
  return sum_of({addresses, body}, static_cast<std::uint32_t>(protocol + body.size())) == 0xffff;
}

}  // namespace twinstep::test
