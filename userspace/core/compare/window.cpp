// SPDX-License-Identifier: Apache-2.0
#include "core/compare/window.hpp"

#include <algorithm>
#include <limits>

#include "core/compare/bytes.hpp"

namespace twinstep::compare {
namespace {

constexpr std::size_t kEthernetBytes = 14;
constexpr std::size_t kIpTotalLength = 2;
constexpr std::size_t kIpChecksum = 10;
constexpr std::size_t kIpAddresses = 12;
constexpr std::size_t kIpAddressesBytes = 8;
constexpr std::size_t kTcpSeq = 4;
constexpr std::size_t kTcpFlags = 13;
constexpr std::size_t kTcpWindow = 14;
constexpr std::size_t kTcpChecksum = 16;
constexpr std::uint32_t kProtocolTcp = 6;

/// Adds an even number of bytes to an internet checksum (RFC 1071); headers are at most 120 bytes, so nothing
/// overflows.
std::uint32_t sum(std::span<const std::byte> bytes, std::uint32_t total = 0) {
  for (std::size_t at = 0; at + 1 < bytes.size(); at += 2) total += load_be16(bytes, at);
  return total;
}

std::uint16_t fold(std::uint32_t total) {
  while ((total >> 16) != 0) total = (total & 0xffff) + (total >> 16);
  return static_cast<std::uint16_t>(~total);
}

std::size_t ip_header_bytes(std::span<const std::byte> frame) {
  return std::to_integer<std::size_t>(frame[kEthernetBytes] & std::byte{0x0f}) * 4;
}

void raise(std::optional<std::uint32_t>& edge, std::uint32_t to) {
  if (!edge || seq_lt(*edge, to)) edge = to;
}

}  // namespace

std::span<const std::byte> tcp_headers(std::span<const std::byte> frame) {
  const std::size_t tcp = kEthernetBytes + ip_header_bytes(frame);
  return frame.first(tcp + std::to_integer<std::size_t>(frame[tcp + 12] >> 4) * 4);
}

std::vector<std::byte> make_window_update(std::span<const std::byte> headers, std::uint32_t seq, std::uint16_t window) {
  std::vector<std::byte> frame(headers.begin(), headers.end());
  const std::size_t ip_bytes = ip_header_bytes(frame);
  const auto ip = std::span(frame).subspan(kEthernetBytes, ip_bytes);
  const auto tcp = std::span(frame).subspan(kEthernetBytes + ip_bytes);

  store_be16(ip, kIpTotalLength, static_cast<std::uint16_t>(ip.size() + tcp.size()));
  store_be16(ip, kIpChecksum, 0);
  store_be16(ip, kIpChecksum, fold(sum(ip)));

  store_be32(tcp, kTcpSeq, seq);
  tcp[kTcpFlags] = std::byte{kAck};
  store_be16(tcp, kTcpWindow, window);
  store_be16(tcp, kTcpChecksum, 0);
  const auto pseudo =
      sum(ip.subspan(kIpAddresses, kIpAddressesBytes), kProtocolTcp + static_cast<std::uint32_t>(tcp.size()));
  store_be16(tcp, kTcpChecksum, fold(sum(tcp, pseudo)));
  return frame;
}

// Right edges only move right here: a receiver should not shrink its window (RFC 9293, 3.8.6), and records that
// overtake each other must not.
void WindowRule::on_pvm(std::uint32_t ack, std::uint16_t window) {
  raise(pvm_edge_, ack + (std::uint32_t{window} << scale_));
}
void WindowRule::on_svm(std::uint32_t ack, std::uint16_t window) {
  raise(svm_edge_, ack + (std::uint32_t{window} << scale_));
}

std::optional<std::uint16_t> WindowRule::on_release(std::uint32_t ack, std::uint16_t window, std::uint32_t seq_end,
                                                    std::span<const std::byte> frame) {
  const std::uint32_t edge = ack + (std::uint32_t{window} << scale_);
  if (!svm_edge_ || seq_le(edge, *svm_edge_)) {
    limited_.reset();
    return std::nullopt;
  }
  const std::uint32_t room = seq_lt(ack, *svm_edge_) ? *svm_edge_ - ack : 0;
  const auto field = static_cast<std::uint16_t>(room >> scale_);
  if (!limited_) limited_.emplace();
  const auto headers = tcp_headers(frame);
  limited_->headers.assign(headers.begin(), headers.end());
  limited_->ack = ack;
  limited_->seq = seq_end;
  limited_->edge = ack + (std::uint32_t{field} << scale_);
  if (field == window) return std::nullopt;
  return field;
}

std::optional<std::vector<std::byte>> WindowRule::update(std::uint32_t bytes_min) {
  if (!limited_ || !svm_edge_ || !pvm_edge_) return std::nullopt;
  const std::uint32_t target = seq_lt(*svm_edge_, *pvm_edge_) ? *svm_edge_ : *pvm_edge_;
  if (seq_le(target, limited_->edge)) return std::nullopt;
  const bool from_zero = limited_->edge == limited_->ack;
  const auto field = static_cast<std::uint16_t>(
      std::min<std::uint32_t>((target - limited_->ack) >> scale_, std::numeric_limits<std::uint16_t>::max()));
  const std::uint32_t edge = limited_->ack + (std::uint32_t{field} << scale_);
  if (seq_le(edge, limited_->edge) || (!from_zero && edge - limited_->edge <= bytes_min)) return std::nullopt;
  limited_->edge = edge;
  auto frame = make_window_update(limited_->headers, limited_->seq, field);
  if (target == *pvm_edge_) limited_.reset();
  return frame;
}

}  // namespace twinstep::compare
