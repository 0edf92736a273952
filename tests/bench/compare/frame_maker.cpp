// SPDX-License-Identifier: Apache-2.0
#include "frame_maker.hpp"

#include <algorithm>
#include <array>
#include <cstring>

#include "core/compare/bytes.hpp"
#include "tests/bench/compare/compare_bench.h"

namespace twinstep::bench {
namespace {

using compare::load_be16;
using compare::store_be16;
using compare::store_be32;

constexpr std::size_t kIpAt = 14;
constexpr std::size_t kL4At = kIpAt + 20;
constexpr std::uint8_t kSynAck = 0x12;
constexpr std::uint8_t kPshAck = 0x18;
constexpr std::uint16_t kVmPort = 80;
constexpr std::uint16_t kFirstClientPort = 20000;
constexpr std::uint32_t kAck = 5001;
constexpr std::array<std::uint8_t, kL4At> kHeaders{
    0x52, 0x54, 0, 0, 0,  2, 0x52, 0x54, 0,  0, 0, 1, 0x08, 0,  // to the client from the VM, IPv4
    0x45, 0,    0, 0, 0,  0, 0x40, 0,    64, 0, 0, 0,           // length, protocol and checksum follow
    10,   1,    0, 1, 10, 1, 0,    2};

std::uint32_t sum16(std::span<const std::byte> bytes) {
  std::uint32_t sum = 0;
  for (std::size_t at = 0; at + 1 < bytes.size(); at += 2) sum += load_be16(bytes, at);
  return sum;
}

std::uint16_t checksum(std::uint32_t sum) {
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >> 16);
  return static_cast<std::uint16_t>(~sum);
}

std::size_t l4_bytes(Protocol protocol) {
  return protocol == Protocol::tcp ? 20 : 8;
}

std::vector<std::byte> headers(Protocol protocol, std::size_t payload_bytes) {
  std::vector<std::byte> frame(kL4At + l4_bytes(protocol) + payload_bytes);
  std::ranges::transform(kHeaders, frame.begin(), [](std::uint8_t byte) { return std::byte{byte}; });
  const auto ip = std::span(frame).subspan(kIpAt, 20);
  store_be16(ip, 2, static_cast<std::uint16_t>(frame.size() - kIpAt));
  ip[9] = std::byte{protocol == Protocol::tcp ? std::uint8_t{6} : std::uint8_t{17}};
  store_be16(ip, 10, checksum(sum16(ip)));
  const auto l4 = std::span(frame).subspan(kL4At);
  store_be16(l4, 0, kVmPort);
  if (protocol == Protocol::tcp) {
    store_be32(l4, 8, kAck);
    l4[12] = std::byte{0x50};
    store_be16(l4, 14, 0x2000);
  } else {
    store_be16(l4, 4, static_cast<std::uint16_t>(l4.size()));
  }
  return frame;
}

}  // namespace

std::size_t FrameMaker::payload_offset(Protocol protocol) {
  return kL4At + l4_bytes(protocol);
}

FrameMaker::FrameMaker(const Traffic& traffic, std::uint32_t first_seq)
    : traffic_(traffic),
      frame_(headers(traffic.protocol, traffic.payload_bytes)),
      syn_(headers(traffic.protocol, 0)),
      next_seq_(traffic.flows, first_seq) {
  const auto filler = std::span(frame_).subspan(payload_offset(traffic.protocol) + sizeof(bench_tag));
  std::uint32_t state = 1;
  for (auto& byte : filler) {
    state = state * 1664525U + 1013904223U;
    byte = static_cast<std::byte>(state >> 24);
  }
  filler_sum_ = sum16(filler);
}

std::span<const std::byte> FrameMaker::syn(std::size_t flow) {
  const auto l4 = std::span(syn_).subspan(kL4At);
  store_be16(l4, 2, static_cast<std::uint16_t>(kFirstClientPort + flow));
  store_be32(l4, 4, next_seq_[flow]++);
  l4[13] = std::byte{kSynAck};
  store_be16(l4, 16, 0);
  store_be16(l4, 16, checksum(sum16(std::span(syn_).subspan(kIpAt + 12, 8)) + 6 + 20 + sum16(l4)));
  return syn_;
}

std::span<const std::byte> FrameMaker::packet(std::uint32_t number, bool pvm_first) {
  const std::size_t flow = number % traffic_.flows;
  const auto l4 = std::span(frame_).subspan(kL4At);
  const bool tcp = traffic_.protocol == Protocol::tcp;
  store_be16(l4, 2, static_cast<std::uint16_t>(kFirstClientPort + flow));
  if (tcp) {
    store_be32(l4, 4, next_seq_[flow]);
    l4[13] = std::byte{kPshAck};
    next_seq_[flow] += static_cast<std::uint32_t>(traffic_.payload_bytes);
  }
  const bench_tag tag{.magic = BENCH_MAGIC + (pvm_first ? 1U : 0U), .number = number};
  const auto payload_at = l4_bytes(traffic_.protocol);
  std::memcpy(l4.data() + payload_at, &tag, sizeof(tag));
  const std::size_t checksum_at = tcp ? 16 : 6;
  store_be16(l4, checksum_at, 0);
  const auto pseudo =
      sum16(std::span(frame_).subspan(kIpAt + 12, 8)) + (tcp ? 6U : 17U) + static_cast<std::uint32_t>(l4.size());
  store_be16(l4, checksum_at, checksum(pseudo + sum16(l4.first(payload_at + sizeof(tag))) + filler_sum_));
  return frame_;
}

}  // namespace twinstep::bench
