// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <chrono>
#include <limits>

#include "core/time.hpp"

namespace twinstep::io {

/// CLOCK_MONOTONIC.
inline Nanos monotonic_ns() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

/// The timeout for poll() that ends at `until` (monotonic_ns() scale) or just after; 0 if it is past.
inline int milliseconds_until(Nanos until) {
  const Nanos left_ms = (until - monotonic_ns() + kMillisecond - 1) / kMillisecond;
  return static_cast<int>(std::clamp<Nanos>(left_ms, 0, std::numeric_limits<int>::max()));
}

}  // namespace twinstep::io
