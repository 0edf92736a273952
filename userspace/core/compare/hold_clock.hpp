// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <optional>

#include "core/time.hpp"

namespace twinstep::compare {

/// How long a frame may wait for the SVM (rule 9). The time begins at the frame's arrival, but not before the SVM's
/// first output after it continued, which a cold SVM owes for a while (at most the grace).
class HoldClock {
 public:
  explicit HoldClock(Nanos grace_ns) : grace_ns_(grace_ns) {}

  void set_hold(Nanos hold_ns) { hold_ns_ = hold_ns; }
  /// The SVM stands still.
  void stop() { running_ns_.reset(), first_output_ns_.reset(); }
  void run(Nanos now) {
    if (!running_ns_) running_ns_ = now;
  }
  /// The SVM sent something. True: it is the first time, so that deadlines are earlier than they were.
  bool on_output(Nanos now) {
    if (first_output_ns_) return false;
    first_output_ns_ = now;
    return true;
  }
  /// No frame that arrives at or after `arrived_ns` is overdue before this.
  Nanos earliest_deadline(Nanos arrived_ns) const { return arrived_ns + hold_ns_; }
  bool is_running() const { return running_ns_.has_value(); }

  /// When a frame is overdue whose like the SVM last brought forward at `progress_ns`. Only while running.
  Nanos deadline(Nanos arrived_ns, Nanos progress_ns) const {
    const Nanos start = std::max(arrived_ns, origin());
    return std::min(std::max(start, progress_ns) + hold_ns_, start + age_max());
  }
  /// When a frame is overdue that nothing but its own twin helps.
  Nanos deadline(Nanos arrived_ns) const { return std::max(arrived_ns, origin()) + hold_ns_; }

 private:
  /// Progress or not, a frame's latency has an end.
  static constexpr Nanos kAgeHolds = 5;
  static constexpr Nanos kAgeMax = 500 * kMillisecond;

  Nanos age_max() const { return std::max(std::min(kAgeHolds * hold_ns_, kAgeMax), hold_ns_); }
  Nanos origin() const {
    const Nanos latest = *running_ns_ + grace_ns_;
    return first_output_ns_ ? std::clamp(*first_output_ns_, *running_ns_, latest) : latest;
  }

  Nanos grace_ns_;
  Nanos hold_ns_ = 100 * kMillisecond;
  std::optional<Nanos> running_ns_;
  std::optional<Nanos> first_output_ns_;
};

}  // namespace twinstep::compare
