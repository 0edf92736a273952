// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstdint>

#include "core/time.hpp"

namespace twinstep::compare {

/// Limits how often something happens: `burst` times at once, then once per `refill_ns`.
class TokenBucket {
 public:
  TokenBucket(std::int64_t burst, Nanos refill_ns) : burst_(burst), refill_ns_(refill_ns), tokens_(burst) {}

  /// When take() succeeds; not in the future: now.
  Nanos next(Nanos now) {
    refill(now);
    return tokens_ > 0 ? now : refilled_ns_ + refill_ns_;
  }
  bool take(Nanos now) {
    refill(now);
    if (tokens_ == 0) return false;
    --tokens_;
    return true;
  }

 private:
  void refill(Nanos now) {
    if (tokens_ == burst_) refilled_ns_ = now;
    const std::int64_t gained = (now - refilled_ns_) / refill_ns_;
    tokens_ = std::min(burst_, tokens_ + gained);
    refilled_ns_ += gained * refill_ns_;
  }

  std::int64_t burst_;
  Nanos refill_ns_;
  std::int64_t tokens_;
  Nanos refilled_ns_ = 0;
};

}  // namespace twinstep::compare
