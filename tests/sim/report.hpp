// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>

#include "context.hpp"

namespace twinstep::sim {

/// One line that names the invariant and how to see it again.
inline std::string describe(std::uint64_t seed, const Violation& violation) {
  return violation.invariant + " broken at " + std::to_string((violation.at_ns - kSecond) / kMillisecond) +
         " ms: " + violation.text + "; reproduce with: twinstep-sim --seed " + std::to_string(seed) + " --trace";
}

}  // namespace twinstep::sim
