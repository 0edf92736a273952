// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstddef>

#include "core/compare/digest.hpp"

namespace twinstep::compare::testing {

/// Sixteen bytes that differ for each number.
inline std::array<std::byte, 16> seed_bytes(std::uint64_t number) {
  std::array<std::byte, 16> seed{};
  for (std::size_t i = 0; i < seed.size(); ++i) {
    number = number * 6364136223846793005ULL + 1442695040888963407ULL;
    seed[i] = static_cast<std::byte>(number >> 56);
  }
  return seed;
}

inline DigestKey test_key(std::uint64_t number = 1) {
  return DigestKey::from_seed(seed_bytes(number));
}

}  // namespace twinstep::compare::testing
