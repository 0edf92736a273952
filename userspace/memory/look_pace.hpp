// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>

#include "core/time.hpp"
#include "memory/primary_memory.hpp"

namespace twinstep::memory {

/// How often a running VM's memory is looked at between checkpoints: once a second, but so much more often, if it
/// writes fast, that the bound of an epoch isn't passed between two looks. Pure.
class LookPace {
 public:
  static constexpr Nanos kPeriodMin = 10 * kMillisecond;
  static constexpr Nanos kPeriodMax = kSecond;

  /// Of the next look; an epoch begins as the one before ended.
  Nanos period_ns() const { return period_ns_; }
  /// `elapsed_ns`: since the look before.
  void after_look(const PrimaryMemory::Fullness& fullness, Nanos elapsed_ns) {
    // Step by step: that nothing was written in a short time tells little.
    period_ns_ = std::min(2 * period_ns_, kPeriodMax);
    if (fullness.pages_new == 0) return;
    // At this rate, half of the time until it is full.
    const double until_full = static_cast<double>(elapsed_ns) * static_cast<double>(fullness.pages_to_full) /
                              static_cast<double>(fullness.pages_new) / 2;
    if (until_full < static_cast<double>(period_ns_)) period_ns_ = std::max(kPeriodMin, static_cast<Nanos>(until_full));
  }

 private:
  Nanos period_ns_ = kPeriodMin;
};

}  // namespace twinstep::memory
