// SPDX-License-Identifier: Apache-2.0
#include "core/compare/window.hpp"

#include <algorithm>
#include <limits>

#include "bpf/abi/twinstep_match.h"
#include "core/compare/bytes.hpp"

namespace twinstep::compare {
namespace {

constexpr std::size_t kIp4TotalLength = 2;
constexpr std::size_t kIp4Checksum = 10;
constexpr std::size_t kIp4Addresses = 12;
constexpr std::size_t kIp4AddressesBytes = 8;
constexpr std::size_t kIp6PayloadLength = 4;
constexpr std::size_t kIp6Addresses = 8;
constexpr std::size_t kIp6AddressesBytes = 32;
constexpr std::size_t kTcpSeq = 4;
constexpr std::size_t kTcpFlags = 13;
constexpr std::size_t kTcpWindow = 14;
constexpr std::size_t kTcpChecksum = 16;

/// Adds an even number of bytes to an internet checksum (RFC 1071); headers are at most 255 bytes, so nothing
/// overflows.
std::uint32_t sum(std::span<const std::byte> bytes, std::uint32_t total = 0) {
  for (std::size_t at = 0; at + 1 < bytes.size(); at += 2) total += load_be16(bytes, at);
  return total;
}

std::uint16_t fold(std::uint32_t total) {
  while ((total >> 16) != 0) total = (total & 0xffff) + (total >> 16);
  return static_cast<std::uint16_t>(~total);
}

/// Sets the length of an IP packet that ends with its headers, and IPv4's checksum with it.
void set_length(std::span<std::byte> packet, const ts_packet& layout) {
  const std::size_t header_bytes = layout.transport_offset - layout.ip_offset;
  if (layout.family == 6) {
    store_be16(packet, kIp6PayloadLength, static_cast<std::uint16_t>(packet.size() - TS_IP6_BYTES));
    return;
  }
  store_be16(packet, kIp4TotalLength, static_cast<std::uint16_t>(packet.size()));
  store_be16(packet, kIp4Checksum, 0);
  store_be16(packet, kIp4Checksum, fold(sum(packet.first(header_bytes))));
}

/// The checksum's part that isn't in the segment (RFC 9293, 3.1; RFC 8200, 8.1).
std::uint32_t pseudo_header(std::span<const std::byte> packet, int family, std::size_t tcp_bytes) {
  const auto addresses = family == 6 ? packet.subspan(kIp6Addresses, kIp6AddressesBytes)
                                     : packet.subspan(kIp4Addresses, kIp4AddressesBytes);
  return sum(addresses, TS_PROTOCOL_TCP + static_cast<std::uint32_t>(tcp_bytes));
}

void raise(std::optional<std::uint32_t>& edge, std::uint32_t to) {
  edge = edge ? ts_seq_max(*edge, to) : to;
}

}  // namespace

void copy_headers(std::span<const std::byte> frame, std::vector<std::byte>& to) {
  const ts_packet layout = layout_of(frame);
  const auto headers = frame.first(layout.payload_offset);
  to.assign(headers.begin(), headers.end());
  set_length(std::span(to).subspan(layout.ip_offset), layout);
}

std::vector<std::byte> make_window_update(std::span<const std::byte> headers, std::uint32_t seq, std::uint16_t window) {
  const ts_packet layout = layout_of(headers);
  std::vector<std::byte> frame(headers.begin(), headers.end());
  const auto packet = std::span(frame).subspan(layout.ip_offset);
  const auto tcp = std::span(frame).subspan(layout.transport_offset);

  store_be32(tcp, kTcpSeq, seq);
  tcp[kTcpFlags] = std::byte{kAck};
  store_be16(tcp, kTcpWindow, window);
  store_be16(tcp, kTcpChecksum, 0);
  store_be16(tcp, kTcpChecksum, fold(sum(tcp, pseudo_header(packet, layout.family, tcp.size()))));
  return frame;
}

// Right edges only move right here: a receiver should not shrink its window (RFC 9293, 3.8.6), and records that
// overtake each other must not.
void WindowRule::on_pvm(std::uint32_t ack, std::uint16_t window) {
  raise(pvm_edge_, ts_window_edge(ack, window, scale_));
}
void WindowRule::on_svm(std::uint32_t ack, std::uint16_t window) {
  raise(svm_edge_, ts_window_edge(ack, window, scale_));
}
void WindowRule::raise_edges(std::uint32_t pvm_edge, std::uint32_t svm_edge) {
  raise(pvm_edge_, pvm_edge);
  raise(svm_edge_, svm_edge);
}

std::optional<std::uint16_t> WindowRule::on_release(std::uint32_t ack, std::uint16_t window, std::uint32_t seq_end,
                                                    std::span<const std::byte> frame) {
  const std::uint32_t edge = ts_window_edge(ack, window, scale_);
  if (!svm_edge_ || ts_window_rule(edge, *svm_edge_) != 0) {
    limited_.reset();
    return std::nullopt;
  }
  const std::uint32_t room = seq_lt(ack, *svm_edge_) ? *svm_edge_ - ack : 0;
  const auto field = static_cast<std::uint16_t>(room >> scale_);
  if (!limited_) limited_.emplace();
  copy_headers(frame, limited_->headers);
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
