// SPDX-License-Identifier: Apache-2.0
#include "segment.hpp"

#include "core/compare/bytes.hpp"
#include "core/compare/frame.hpp"

namespace twinstep::bench {
namespace {

using compare::load_be16;
using compare::load_be32;
using compare::store_be16;
using compare::store_be32;

constexpr std::size_t kIp = 14;
constexpr std::size_t kTcpBytesMin = 20;
constexpr std::size_t kIpBytesMin = 20;
constexpr std::uint16_t kTypeIp = 0x0800;
constexpr std::uint8_t kProtocolTcp = 6;
constexpr std::uint16_t kFragmentBits = 0x3fff;
constexpr std::size_t kTcpAck = 8;
constexpr std::size_t kTcpDataOffset = 12;
constexpr std::size_t kTcpFlags = 13;
constexpr std::size_t kTcpChecksum = 16;
constexpr std::size_t kIpLength = 2;
constexpr std::size_t kIpChecksum = 10;
constexpr std::size_t kIpAddresses = 12;

std::uint8_t byte_at(std::span<const std::byte> bytes, std::size_t at) {
  return static_cast<std::uint8_t>(bytes[at]);
}

std::uint16_t fold(std::uint32_t sum) {
  while (sum >> 16 != 0) sum = (sum & 0xffff) + (sum >> 16);
  return static_cast<std::uint16_t>(sum);
}

std::uint32_t sum_of(std::span<const std::byte> bytes) {
  std::uint32_t sum = 0;
  for (std::size_t at = 0; at + 1 < bytes.size(); at += 2) sum += load_be16(bytes, at);
  return bytes.size() % 2 == 0 ? sum : sum + (std::uint32_t{byte_at(bytes, bytes.size() - 1)} << 8);
}

/// RFC 9293, 3.1; RFC 7323, 2.2 and 3.2.
void read_options(std::span<const std::byte> frame, std::size_t begin, Segment& segment) {
  constexpr std::uint8_t kEnd = 0;
  constexpr std::uint8_t kNothing = 1;
  constexpr std::uint8_t kWindowScale = 3;
  constexpr std::uint8_t kTimestamps = 8;
  constexpr std::size_t kTimestampsBytes = 10;
  for (std::size_t at = begin; at < segment.headers_bytes && byte_at(frame, at) != kEnd;) {
    const std::uint8_t kind = byte_at(frame, at);
    if (kind == kNothing) {
      ++at;
      continue;
    }
    if (at + 1 >= segment.headers_bytes) return;
    const std::size_t bytes = byte_at(frame, at + 1);
    if (bytes < 2 || at + bytes > segment.headers_bytes) return;
    if (kind == kWindowScale && bytes == 3) segment.window_scale = byte_at(frame, at + 2);
    if (kind == kTimestamps && bytes == kTimestampsBytes) {
      segment.tsval = load_be32(frame, at + 2);
      segment.tsecr_offset = at + 6;
    }
    at += bytes;
  }
}

}  // namespace

std::uint32_t Segment::end() const {
  return seq + payload_bytes + (has(compare::kSyn) ? 1U : 0U) + (has(compare::kFin) ? 1U : 0U);
}

std::optional<Segment> parse_segment(std::span<const std::byte> frame, bool from_vm) {
  if (frame.size() < kIp + kIpBytesMin || load_be16(frame, kIp - 2) != kTypeIp) return std::nullopt;
  const std::size_t ip_header_bytes = std::size_t{byte_at(frame, kIp)} % 16 * 4;
  const std::size_t tcp = kIp + ip_header_bytes;
  if (byte_at(frame, kIp + 9) != kProtocolTcp || (load_be16(frame, kIp + 6) & kFragmentBits) != 0 ||
      ip_header_bytes < kIpBytesMin || frame.size() < tcp + kTcpBytesMin)
    return std::nullopt;
  Segment segment;
  const std::size_t tcp_header_bytes = std::size_t{byte_at(frame, tcp + kTcpDataOffset)} / 16 * 4;
  const std::size_t ip_bytes = load_be16(frame, kIp + kIpLength);
  segment.tcp_offset = tcp;
  segment.headers_bytes = tcp + tcp_header_bytes;
  if (frame.size() < segment.headers_bytes || tcp_header_bytes < kTcpBytesMin ||
      ip_bytes < ip_header_bytes + tcp_header_bytes)
    return std::nullopt;
  const std::size_t source = kIp + kIpAddresses;
  const std::size_t destination = source + 4;
  segment.key = {.vm = load_be32(frame, from_vm ? source : destination),
                 .client = load_be32(frame, from_vm ? destination : source),
                 .client_port = load_be16(frame, tcp + (from_vm ? 2U : 0U)),
                 .vm_port = load_be16(frame, tcp + (from_vm ? 0U : 2U))};
  segment.seq = load_be32(frame, tcp + 4);
  segment.ack = load_be32(frame, tcp + kTcpAck);
  segment.flags = byte_at(frame, tcp + kTcpFlags);
  segment.window = load_be16(frame, tcp + 14);
  segment.payload_bytes = static_cast<std::uint32_t>(ip_bytes - ip_header_bytes - tcp_header_bytes);
  read_options(frame, tcp + kTcpBytesMin, segment);
  return segment;
}

void replace32(Bytes& frame, const Segment& segment, std::size_t offset, std::uint32_t value) {
  const std::size_t checksum_at = segment.tcp_offset + kTcpChecksum;
  const std::uint32_t old = load_be32(frame, offset);
  // A field at an odd offset, as options may have it, counts with its bytes swapped.
  const bool is_odd = (offset - segment.tcp_offset) % 2 != 0;
  const auto halves = [is_odd](std::uint32_t word) {
    const auto high = static_cast<std::uint16_t>(word >> 16);
    const auto low = static_cast<std::uint16_t>(word);
    const std::uint32_t sum = std::uint32_t{high} + low;
    const std::uint32_t swapped = std::uint32_t{__builtin_bswap16(high)} + __builtin_bswap16(low);
    return is_odd ? swapped : sum;
  };
  std::uint32_t sum = static_cast<std::uint16_t>(~load_be16(frame, checksum_at));
  sum += halves(~old) + halves(value);
  store_be32(frame, offset, value);
  store_be16(frame, checksum_at, static_cast<std::uint16_t>(~fold(sum)));
}

Bytes make_ack(const Bytes& frame, const Segment& segment, std::uint32_t ack) {
  Bytes made(frame.begin(), frame.begin() + static_cast<std::ptrdiff_t>(segment.headers_bytes));
  const std::span bytes(made);
  const auto ip = bytes.subspan(kIp, segment.tcp_offset - kIp);
  const auto tcp = bytes.subspan(segment.tcp_offset);
  store_be16(ip, kIpLength, static_cast<std::uint16_t>(made.size() - kIp));
  store_be16(ip, kIpChecksum, 0);
  store_be16(ip, kIpChecksum, static_cast<std::uint16_t>(~fold(sum_of(ip))));
  store_be32(tcp, kTcpAck, ack);
  tcp[kTcpFlags] = std::byte{compare::kAck};
  store_be16(tcp, kTcpChecksum, 0);
  const std::uint32_t pseudo =
      sum_of(ip.subspan(kIpAddresses, 8)) + kProtocolTcp + static_cast<std::uint32_t>(tcp.size());
  store_be16(tcp, kTcpChecksum, static_cast<std::uint16_t>(~fold(sum_of(tcp) + pseudo)));
  return made;
}

}  // namespace twinstep::bench
