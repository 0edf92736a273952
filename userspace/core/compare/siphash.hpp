// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace twinstep::compare {

/// SipHash-2-4 (Aumasson & Bernstein, "SipHash: a fast short-input PRF", 2012) of one 64-bit number: makes as many
/// random numbers from a secret as are needed.
std::uint64_t siphash(std::span<const std::byte, 16> secret, std::uint64_t number);

}  // namespace twinstep::compare
