// SPDX-License-Identifier: Apache-2.0
#include "packets.hpp"

#include <algorithm>

namespace twinstep::test {
namespace {

constexpr std::size_t kEthernetBytes = 14;

std::uint32_t sum16(std::span<const std::byte> bytes) {
  std::uint32_t sum = 0;
  for (std::size_t i = 0; i < bytes.size(); ++i)
    sum += std::to_integer<std::uint32_t>(bytes[i]) << (i % 2 == 0 ? 8 : 0);
  return sum;
}

std::uint16_t fold(std::uint32_t sum) {
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >> 16);
  return static_cast<std::uint16_t>(sum);
}

std::uint32_t pseudo_header(std::span<const std::byte> packet, std::size_t header_bytes) {
  const auto total_bytes = get16(packet, 2);
  return sum16(packet.subspan(12, 8)) + std::to_integer<std::uint32_t>(packet[9]) +
         static_cast<std::uint32_t>(total_bytes - header_bytes);
}

Bytes ipv4(std::uint8_t protocol, std::uint32_t source, std::uint32_t destination, std::uint16_t fragment,
           const Bytes& options, std::span<const std::byte> payload) {
  Bytes packet(20);
  packet[0] = static_cast<std::byte>(0x40 | (5 + options.size() / 4));
  put16(packet, 2, static_cast<std::uint16_t>(20 + options.size() + payload.size()));
  put16(packet, 6, fragment);
  packet[8] = std::byte{64};
  packet[9] = static_cast<std::byte>(protocol);
  put32(packet, 12, source);
  put32(packet, 16, destination);
  Bytes header = concat({packet, options});
  put16(header, 10, static_cast<std::uint16_t>(~fold(sum16(header))));
  return concat({header, payload});
}

}  // namespace

Bytes bytes_of(std::initializer_list<int> values) {
  Bytes bytes;
  for (const int value : values) bytes.push_back(static_cast<std::byte>(value));
  return bytes;
}

Bytes concat(std::initializer_list<std::span<const std::byte>> parts) {
  Bytes all;
  for (const auto& part : parts) all.insert(all.end(), part.begin(), part.end());
  return all;
}

Bytes pattern(std::size_t size, unsigned seed) {
  Bytes bytes(size);
  std::uint32_t state = seed * 2654435761U + 1;
  for (auto& byte : bytes) {
    state = state * 1664525U + 1013904223U;
    byte = static_cast<std::byte>(state >> 24);
  }
  return bytes;
}

Bytes ethernet(const Mac& destination, const Mac& source, std::uint16_t ether_type, std::span<const std::byte> body) {
  Bytes header(kEthernetBytes);
  for (std::size_t i = 0; i < 6; ++i) {
    header[i] = std::byte{destination.at(i)};
    header[6 + i] = std::byte{source.at(i)};
  }
  put16(header, 12, ether_type);
  return concat({header, body});
}

Bytes frame_of(const Tcp& tcp) {
  Bytes segment(20);
  put16(segment, 0, tcp.from_vm ? kVmPort : tcp.client_port);
  put16(segment, 2, tcp.from_vm ? tcp.client_port : kVmPort);
  put32(segment, 4, tcp.seq);
  put32(segment, 8, tcp.ack);
  segment[12] = static_cast<std::byte>((5 + tcp.options.size() / 4) << 4);
  segment[13] = std::byte{tcp.flags};
  put16(segment, 14, tcp.window);
  segment = concat({segment, tcp.options, tcp.payload});
  Bytes packet = tcp.from_vm ? ipv4(6, kVmAddr, kClientAddr, 0x4000, tcp.ip_options, segment)
                             : ipv4(6, kClientAddr, kVmAddr, 0x4000, tcp.ip_options, segment);
  const std::size_t header_bytes = 20 + tcp.ip_options.size();
  const auto sum = pseudo_header(packet, header_bytes) + sum16(std::span(packet).subspan(header_bytes));
  put16(packet, header_bytes + 16, static_cast<std::uint16_t>(~fold(sum)));
  return tcp.from_vm ? ethernet(kClientMac, kVmMac, 0x0800, packet) : ethernet(kVmMac, kClientMac, 0x0800, packet);
}

Bytes frame_of(const Ip& ip) {
  return ethernet(kClientMac, kVmMac, 0x0800, ipv4(ip.protocol, kVmAddr, ip.destination, ip.fragment, {}, ip.payload));
}

Bytes timestamps(std::uint32_t tsval, std::uint32_t tsecr) {
  Bytes option = bytes_of({1, 1, 8, 10, 0, 0, 0, 0, 0, 0, 0, 0});
  put32(option, 4, tsval);
  put32(option, 8, tsecr);
  return option;
}

std::uint16_t get16(std::span<const std::byte> bytes, std::size_t at) {
  return static_cast<std::uint16_t>(std::to_integer<unsigned>(bytes[at]) << 8 |
                                    std::to_integer<unsigned>(bytes[at + 1]));
}

std::uint32_t get32(std::span<const std::byte> bytes, std::size_t at) {
  return std::uint32_t{get16(bytes, at)} << 16 | get16(bytes, at + 2);
}

void put16(std::span<std::byte> bytes, std::size_t at, std::uint16_t value) {
  bytes[at] = static_cast<std::byte>(value >> 8);
  bytes[at + 1] = static_cast<std::byte>(value & 0xff);
}

void put32(std::span<std::byte> bytes, std::size_t at, std::uint32_t value) {
  put16(bytes, at, static_cast<std::uint16_t>(value >> 16));
  put16(bytes, at + 2, static_cast<std::uint16_t>(value & 0xffff));
}

bool comes_from(std::span<const std::byte> frame, const Mac& source) {
  return frame.size() >= kEthernetBytes &&
         std::equal(source.begin(), source.end(), frame.begin() + 6,
                    [](std::uint8_t mac, std::byte byte) { return std::byte{mac} == byte; });
}

bool checksums_right(std::span<const std::byte> frame) {
  const auto packet = frame.subspan(kEthernetBytes);
  const auto header_bytes = std::to_integer<std::size_t>(packet[0] & std::byte{0xf}) * 4;
  const auto segment = packet.subspan(header_bytes, get16(packet, 2) - header_bytes);
  return fold(sum16(packet.first(header_bytes))) == 0xffff &&
         fold(pseudo_header(packet, header_bytes) + sum16(segment)) == 0xffff;
}

}  // namespace twinstep::test
