// SPDX-License-Identifier: Apache-2.0
#include "mutate.hpp"

#include <algorithm>
#include <array>

#include "core/compare/frame.hpp"

namespace twinstep::test {
namespace {

constexpr std::size_t kBytesMin = 14;
constexpr std::size_t kBytesMax = 3400;  // in one piece, with its encapsulation and metadata
constexpr std::array<std::uint16_t, 12> kOdd = {0, 1, 5, 6, 20, 40, 0x7f, 0x80, 0xff, 0x2000, 0x7fff, 0xffff};
constexpr std::array<std::uint16_t, 8> kEtherTypes = {0x0800, 0x0806, 0x86dd, 0x8100, 0x88a8, 0x88b5, 0x88cc, 38};
constexpr std::array<std::uint8_t, 12> kProtocols = {0, 1, 2, 6, 17, 43, 44, 50, 51, 58, 60, 59};

void swap_bytes(Bytes& frame, std::size_t a, std::size_t b, std::size_t bytes) {
  const auto at = [&](std::size_t offset) { return frame.begin() + static_cast<std::ptrdiff_t>(offset); };
  std::swap_ranges(at(a), at(a + bytes), at(b));
}

}  // namespace

Bytes turned_round(Bytes frame) {
  const ts_packet layout = compare::layout_of(frame);
  swap_bytes(frame, 0, 6, 6);
  if (layout.family == 4) swap_bytes(frame, layout.ip_offset + 12, layout.ip_offset + 16, 4);
  if (layout.family == 6) swap_bytes(frame, layout.ip_offset + 8, layout.ip_offset + 24, 16);
  if (layout.kind == TS_CLASS_TCP) swap_bytes(frame, layout.transport_offset, layout.transport_offset + 2, 2);
  return frame;
}

Mutator::Mutator(std::uint64_t seed) : state_(seed) {
  for (auto& each : packet_table()) {
    to_vm_.push_back(turned_round(each.frame));
    from_vm_.push_back(std::move(each.frame));
  }
}

/// SplitMix64 (Steele, Lea & Flood, 2014).
std::uint32_t Mutator::below(std::size_t bound) {
  state_ += 0x9e3779b97f4a7c15U;
  std::uint64_t mixed = state_;
  mixed = (mixed ^ (mixed >> 30)) * 0xbf58476d1ce4e5b9U;
  mixed = (mixed ^ (mixed >> 27)) * 0x94d049bb133111ebU;
  return static_cast<std::uint32_t>((((mixed ^ (mixed >> 31)) >> 32) * bound) >> 32);
}

const Bytes& Mutator::next(bool to_vm) {
  const auto& seeds = to_vm ? to_vm_ : from_vm_;
  const Bytes& seed = seeds[below(seeds.size())];
  frame_.assign(seed.begin(), seed.end());
  for (auto changes = below(5); changes > 0; --changes) change();
  if (frame_.size() < kBytesMin) frame_.resize(kBytesMin);
  if (frame_.size() > kBytesMax) frame_.resize(kBytesMax);
  return frame_;
}

/// Mostly in the headers.
std::size_t Mutator::place() {
  return below(below(8) == 0 ? frame_.size() : std::min<std::size_t>(frame_.size(), 120));
}

void Mutator::insert(std::size_t at, const Bytes& bytes) {
  if (at <= frame_.size()) frame_.insert(frame_.begin() + static_cast<std::ptrdiff_t>(at), bytes.begin(), bytes.end());
}

void Mutator::change() {
  const std::size_t size = frame_.size();
  if (size < kBytesMin) return;
  const std::size_t at = place();
  const auto pick = [this](const auto& values) { return values.at(below(values.size())); };
  switch (below(11)) {
    case 0:
      frame_[at] ^= static_cast<std::byte>(1U << below(8));
      break;
    case 1:
      frame_[at] = static_cast<std::byte>(below(256));
      break;
    case 2:
      frame_[at] = static_cast<std::byte>(pick(kOdd));
      break;
    case 3:
      if (at + 2 <= size) put16(frame_, at, pick(kOdd));
      break;
    case 4:
      put16(frame_, 12, pick(kEtherTypes));
      break;
    case 5:
      frame_[at] = static_cast<std::byte>(pick(kProtocols));
      break;
    case 6:
      frame_.resize(below(size));
      break;
    case 7:
      frame_.resize(size + below(below(16) == 0 ? 3000 : 64), static_cast<std::byte>(below(256)));
      break;
    case 8:
      insert(12, bytes_of({below(2) == 0 ? 0x81 : 0x88, below(2) == 0 ? 0 : 0xa8, static_cast<int>(below(16)),
                           static_cast<int>(below(256))}));
      break;
    case 9:
      insert(54, bytes_of({pick(kProtocols), static_cast<int>(below(4)), static_cast<int>(below(3)),
                           static_cast<int>(below(16)), 0, 0, 0, 0}));
      if (frame_.size() > 20) frame_[20] = static_cast<std::byte>(pick(kProtocols));
      break;
    default:
      for (std::size_t i = 0; i < 6; ++i) frame_[i] = static_cast<std::byte>(below(2) == 0 ? 0xff : below(256));
      break;
  }
}

}  // namespace twinstep::test
