// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

namespace twinstep {

/// Nanoseconds of a monotonic clock whose origin nobody may rely on. The core never reads a clock: `now` is an
/// argument.
using Nanos = std::int64_t;

inline constexpr Nanos kMicrosecond = 1'000;
inline constexpr Nanos kMillisecond = 1'000'000;
inline constexpr Nanos kSecond = 1'000'000'000;

}  // namespace twinstep
