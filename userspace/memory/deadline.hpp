// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <chrono>
#include <limits>

namespace twinstep::memory {

/// The instant by which a wait must have ended.
class Deadline {
 public:
  explicit Deadline(std::chrono::nanoseconds timeout) : at_(std::chrono::steady_clock::now() + timeout) {}

  bool passed() const { return std::chrono::steady_clock::now() >= at_; }

  /// What is left for poll(2): milliseconds rounded up, never negative, as a negative one would mean for ever.
  int poll_timeout_ms() const {
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(at_ - std::chrono::steady_clock::now()).count();
    return static_cast<int>(std::clamp<decltype(left)>(left, 0, std::numeric_limits<int>::max()));
  }

 private:
  std::chrono::steady_clock::time_point at_;
};

}  // namespace twinstep::memory
