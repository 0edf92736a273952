// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstdint>

#include "memory/primary_memory.hpp"

namespace twinstep::memory {

/// Decides how the first synchronisation goes on after each round, and how much the guest is slowed down when it writes
/// about as fast as pages are sent. Pure.
class SyncPace {
 public:
  /// Few enough pages for the first checkpoint, which copies them beside the running VM.
  static constexpr std::uint64_t kPagesLeftMax = 2048;
  static constexpr int kRoundsMax = 30;
  /// Of kSlowdownMax + 1 parts of the time the guest stands still for slowdown() parts.
  static constexpr int kSlowdownMax = 7;

  /// `epoch_pages_max`: that a checkpoint may carry.
  explicit SyncPace(std::uint64_t epoch_pages_max) : pages_left_max_(std::min(kPagesLeftMax, epoch_pages_max / 2)) {}

  /// Whether another round is worth it.
  bool after_round(const LiveRound& round) {
    ++rounds_;
    if (round.pages_left <= pages_left_max_ || !round.repeatable || rounds_ == kRoundsMax) return false;
    // A round that leaves more than three quarters of what it sent gains nothing; one may be chance, two aren't.
    const bool gained = round.pages_left < round.pages_sent - round.pages_sent / 4;
    futile_ = gained ? 0 : futile_ + 1;
    if (futile_ >= 2 && slowdown_ < kSlowdownMax) ++slowdown_;
    return true;
  }
  int rounds() const { return rounds_; }
  int slowdown() const { return slowdown_; }

 private:
  std::uint64_t pages_left_max_;
  int rounds_ = 0;
  int futile_ = 0;
  int slowdown_ = 0;
};

}  // namespace twinstep::memory
