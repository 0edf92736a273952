// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstdint>
#include <mutex>
#include <optional>

#include "core/time.hpp"

namespace twinstep::daemon {

/// How far the first synchronisation is. Written by the page stream's thread, read by the session's.
class SyncProgress {
 public:
  struct View {
    int round = 0;                  ///< from 1
    std::uint64_t pages_left = 0;   ///< of this round
    std::uint64_t bytes_per_s = 0;  ///< of this round; 0: not known yet
    Nanos left_ns = 0;              ///< of this round, at that rate
    int slowdown_percent = 0;       ///< part of the time that the guest stands still because it writes too fast
  };

  void begin_round(int round, std::uint64_t pages, int slowdown_percent, Nanos now) {
    const std::lock_guard lock(mutex_);
    view_ = View{round, pages, 0, 0, slowdown_percent};
    round_pages_ = pages;
    round_started_ns_ = now;
  }
  void sent(std::uint64_t pages, std::uint64_t bytes, Nanos now) {
    const std::lock_guard lock(mutex_);
    if (!view_ || pages == 0 || now <= round_started_ns_) return;
    const auto elapsed = static_cast<double>(now - round_started_ns_);
    view_->pages_left = round_pages_ - std::min(pages, round_pages_);
    view_->bytes_per_s = static_cast<std::uint64_t>(static_cast<double>(bytes) * kSecond / elapsed);
    view_->left_ns = static_cast<Nanos>(elapsed * static_cast<double>(view_->pages_left) / static_cast<double>(pages));
  }
  void end() {
    const std::lock_guard lock(mutex_);
    view_.reset();
  }
  /// Nothing: no synchronisation goes on.
  std::optional<View> view() const {
    const std::lock_guard lock(mutex_);
    return view_;
  }

 private:
  mutable std::mutex mutex_;
  std::optional<View> view_;
  std::uint64_t round_pages_ = 0;
  Nanos round_started_ns_ = 0;
};

}  // namespace twinstep::daemon
