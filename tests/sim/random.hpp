// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "core/time.hpp"

namespace twinstep::sim {

/// Scrambles 64 bits (the finaliser of SplitMix64: Steele, Lea & Flood, "Fast splittable pseudorandom number
/// generators", 2014).
constexpr std::uint64_t mix(std::uint64_t x) {
  x += 0x9e3779b97f4a7c15ULL;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ULL;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebULL;
  return x ^ (x >> 31);
}

/// The only source of chance in a run: the same seed gives the same run on every machine.
class Random {
 public:
  explicit Random(std::uint64_t seed) : state_(mix(seed)) {}

  std::uint64_t next() { return mix(state_++); }
  /// 0 .. bound - 1. bound: 1 or more.
  std::uint64_t below(std::uint64_t bound) { return next() % bound; }
  /// low .. high, both included.
  Nanos between(Nanos low, Nanos high) {
    return low + static_cast<Nanos>(below(static_cast<std::uint64_t>(high - low) + 1));
  }
  bool chance(double probability) { return static_cast<double>(next() >> 11) < probability * 0x1p53; }

 private:
  std::uint64_t state_;
};

}  // namespace twinstep::sim
