// SPDX-License-Identifier: Apache-2.0
#include "daemon/plane/tcp_edit.hpp"

#include <array>

#include "bpf/abi/twinstep_packet.h"

namespace twinstep::daemon {
namespace {

constexpr std::size_t kTcpBytesMin = 20;
constexpr std::size_t kSeqAt = 4;
constexpr std::size_t kWindowAt = 14;
constexpr std::size_t kChecksumAt = 16;
constexpr unsigned kOptionEnd = 0;
constexpr unsigned kOptionNop = 1;
constexpr unsigned kOptionTimestamps = 8;

template <std::size_t N>
std::array<std::byte, N> big_endian(std::uint32_t value) {
  std::array<std::byte, N> bytes{};
  for (std::size_t i = 0; i < N; ++i) bytes.at(i) = static_cast<std::byte>(value >> (8 * (N - 1 - i)));
  return bytes;
}

/// A byte's weight in the checksum depends on whether it is the first of its 16-bit word.
std::uint32_t weighed(std::byte byte, std::size_t at) {
  return std::to_integer<std::uint32_t>(byte) << (at % 2 == 0 ? 8 : 0);
}

std::size_t transport_offset(std::span<const std::byte> front, std::size_t frame_bytes) {
  const auto* data = reinterpret_cast<const __u8*>(front.data());
  ts_packet packet{};
  ts_parse_frame(data, data + front.size(), static_cast<__u32>(frame_bytes), &packet);
  return packet.transport_offset;
}

}  // namespace

TcpEdit::TcpEdit(std::span<std::byte> frame, std::size_t frame_bytes)
    : tcp_(frame.subspan(transport_offset(frame, frame_bytes))) {}

void TcpEdit::replace(std::size_t at, std::span<const std::byte> bytes) {
  std::uint32_t sum = 0xffff & ~(weighed(tcp_[kChecksumAt], 0) + weighed(tcp_[kChecksumAt + 1], 1));
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    sum += weighed(~tcp_[at + i], at + i) + weighed(bytes[i], at + i);
    tcp_[at + i] = bytes[i];
  }
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >> 16);
  const auto checksum = big_endian<2>(~sum);
  tcp_[kChecksumAt] = checksum[0];
  tcp_[kChecksumAt + 1] = checksum[1];
}

void TcpEdit::set_window(std::uint16_t window) {
  replace(kWindowAt, big_endian<2>(window));
}

std::uint32_t TcpEdit::get32(std::size_t at) const {
  std::uint32_t value = 0;
  for (const std::byte byte : tcp_.subspan(at, 4)) value = value << 8 | std::to_integer<std::uint32_t>(byte);
  return value;
}

void TcpEdit::shift(const OutboundShift& shift) {
  replace(kSeqAt, big_endian<4>(get32(kSeqAt) - shift.seq_delta));
  if (const auto at = find_tsval()) replace(*at, big_endian<4>(get32(*at) + shift.ts_offset));
}

void TcpEdit::set_tsval(std::uint32_t tsval) {
  if (const auto at = find_tsval()) replace(*at, big_endian<4>(tsval));
}

std::optional<std::size_t> TcpEdit::find_tsval() const {
  const std::size_t end = std::to_integer<std::size_t>(tcp_[12] >> 4) * 4;
  for (std::size_t at = kTcpBytesMin; at + 1 < end;) {
    const auto kind = std::to_integer<unsigned>(tcp_[at]);
    if (kind == kOptionEnd) break;
    if (kind == kOptionNop) {
      ++at;
      continue;
    }
    const auto length = std::to_integer<std::size_t>(tcp_[at + 1]);
    if (length < 2 || at + length > end) break;
    if (kind == kOptionTimestamps && length == 10) return at + 2;
    at += length;
  }
  return std::nullopt;
}

}  // namespace twinstep::daemon
