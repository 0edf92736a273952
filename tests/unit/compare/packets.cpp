// SPDX-License-Identifier: Apache-2.0
#include "packets.hpp"

#include <algorithm>

namespace twinstep::compare::testing {
namespace {

constexpr std::size_t kEthernet = 14;
constexpr std::size_t kIp = 20;

void put8(Bytes& out, unsigned value) {
  out.push_back(static_cast<std::byte>(value));
}
void put16(Bytes& out, unsigned value) {
  put8(out, value >> 8);
  put8(out, value & 0xff);
}
void put32(Bytes& out, std::uint32_t value) {
  put16(out, value >> 16);
  put16(out, value & 0xffff);
}

/// RFC 1071, a byte at a time.
std::uint32_t ones_sum(std::span<const std::byte> bytes) {
  std::uint32_t total = 0;
  for (std::size_t i = 0; i < bytes.size(); ++i)
    total += std::to_integer<std::uint32_t>(bytes[i]) << (i % 2 == 0 ? 8 : 0);
  while (total > 0xffff) total = (total & 0xffff) + (total >> 16);
  return total;
}

std::uint32_t tcp_sum(std::span<const std::byte> frame) {
  const auto segment = frame.subspan(kEthernet + kIp);
  Bytes pseudo(frame.begin() + kEthernet + 12, frame.begin() + kEthernet + 20);
  put16(pseudo, 6);
  put16(pseudo, static_cast<unsigned>(segment.size()));
  pseudo.insert(pseudo.end(), segment.begin(), segment.end());
  return ones_sum(pseudo);
}

void put_ethernet(Bytes& out, unsigned ether_type, bool multicast) {
  for (const unsigned b : {multicast ? 0x33U : 0x02U, 0U, 0U, 0U, 0U, 1U, 2U, 0U, 0U, 0U, 0U, 2U}) put8(out, b);
  put16(out, ether_type);
}

void put_ip(Bytes& out, unsigned protocol, std::size_t payload) {
  put16(out, 0x4500);
  put16(out, static_cast<unsigned>(kIp + payload));
  put32(out, 0x12344000);
  put8(out, 64);
  put8(out, protocol);
  put16(out, 0);
  put32(out, 0x0a000002);
  put32(out, 0x0a000009);
  const auto checksum = ~ones_sum(std::span(out).subspan(kEthernet, kIp)) & 0xffff;
  out[kEthernet + 10] = static_cast<std::byte>(checksum >> 8);
  out[kEthernet + 11] = static_cast<std::byte>(checksum & 0xff);
}

Bytes options_of(const Segment& segment) {
  Bytes options;
  if (segment.mss) put16(options, 0x0204), put16(options, *segment.mss);
  if (segment.sack_permitted) put16(options, 0x0402);
  if (segment.tsval) put16(options, 0x080a), put32(options, *segment.tsval), put32(options, 7);
  if (segment.window_scale) put16(options, 0x0303), put8(options, *segment.window_scale);
  options.insert(options.end(), segment.more_options.begin(), segment.more_options.end());
  while (options.size() % 4 != 0) options.insert(options.begin(), std::byte{1});
  return options;
}

}  // namespace

Bytes bytes_of(std::string_view text) {
  Bytes bytes(text.size());
  std::transform(text.begin(), text.end(), bytes.begin(), [](char c) { return static_cast<std::byte>(c); });
  return bytes;
}

Bytes encode(const Segment& segment) {
  const Bytes options = options_of(segment);
  Bytes out;
  put_ethernet(out, 0x0800, false);
  put_ip(out, 6, 20 + options.size() + segment.payload.size());
  put16(out, segment.vm_port);
  put16(out, segment.peer_port);
  put32(out, segment.seq);
  put32(out, segment.ack);
  put8(out, static_cast<unsigned>((20 + options.size()) / 4 << 4));
  put8(out, segment.flags);
  put16(out, segment.window);
  put32(out, 0);
  out.insert(out.end(), options.begin(), options.end());
  out.insert(out.end(), segment.payload.begin(), segment.payload.end());
  const auto checksum = ~tcp_sum(out) & 0xffff;
  out[kEthernet + kIp + 16] = static_cast<std::byte>(checksum >> 8);
  out[kEthernet + kIp + 17] = static_cast<std::byte>(checksum & 0xff);
  return out;
}

Bytes encode_udp(std::string_view payload, std::uint16_t peer_port) {
  Bytes out;
  put_ethernet(out, 0x0800, false);
  put_ip(out, 17, 8 + payload.size());
  put16(out, 1000);
  put16(out, peer_port);
  put16(out, static_cast<unsigned>(8 + payload.size()));
  put16(out, 0);
  const Bytes body = bytes_of(payload);
  out.insert(out.end(), body.begin(), body.end());
  return out;
}

Bytes encode_ethernet(std::uint16_t ether_type, std::string_view payload, bool multicast) {
  Bytes out;
  put_ethernet(out, ether_type, multicast);
  const Bytes body = bytes_of(payload);
  out.insert(out.end(), body.begin(), body.end());
  return out;
}

FlowKey flow_of(const Segment& segment) {
  return FlowKey::tcp4(__builtin_bswap32(0x0a000002), __builtin_bswap32(0x0a000009), __builtin_bswap16(segment.vm_port),
                       __builtin_bswap16(segment.peer_port));
}

bool checksums_are_right(std::span<const std::byte> frame) {
  return ones_sum(frame.subspan(kEthernet, kIp)) == 0xffff && tcp_sum(frame) == 0xffff;
}

ts_frame_meta meta_of(std::span<const std::byte> frame, const DigestKey& key) {
  const Frame parsed = parse(frame, key);
  ts_frame_meta meta{};
  // The whole digest as limbs is a valid state of the accumulators.
  for (unsigned limb = 0; limb < TS_DIGEST_LIMBS; ++limb)
    meta.acc[limb] = static_cast<std::uint64_t>(parsed.digest >> (TS_DIGEST_LIMB_BITS * limb)) & 0x7fffff;
  meta.payload_bytes = static_cast<__u16>(parsed.payload.size());
  meta.payload_offset = static_cast<__u8>(parsed.payload.data() - frame.data());
  meta.class_flags = static_cast<__u8>(parsed.cls);
  return meta;
}

}  // namespace twinstep::compare::testing
