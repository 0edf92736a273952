// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>

#include "core/compare/comparer.hpp"
#include "core/time.hpp"

namespace twinstep::checkpoint {

/// Why a checkpoint is taken. The first six are the comparison's causes.
enum class Cause : std::uint8_t { content, stall, ack, datagram, base, pressure, epoch_limit, initial };
const char* to_string(Cause cause);
Cause from(compare::Cause cause);

struct PolicyLimits {
  Nanos epoch_max_ns = 10 * kSecond;           ///< longest time between two checkpoints
  Nanos hold_min_ns = 20 * kMillisecond;       ///< smallest HOLD
  Nanos hold_max_ns = 500 * kMillisecond;      ///< largest HOLD
  Nanos hold_initial_ns = 100 * kMillisecond;  ///< HOLD until a checkpoint was measured
};

/// When a checkpoint is due, and how long the comparison may wait for the SVM (HOLD). Pure.
/// HOLD is 1.5 times the smoothed measured cost of a checkpoint (request until the SVM runs again), doubled after an
/// epoch that a missing twin ended within a second (a storm feeds itself otherwise), reset by an epoch that lasted
/// longer.
class Policy {
 public:
  explicit Policy(PolicyLimits limits);

  /// The SVM runs in a new epoch.
  void on_epoch_started(Nanos now);
  /// The comparison asks for a checkpoint.
  void on_diverged(compare::Cause cause, Nanos now);
  /// A checkpoint was requested at `requested_at` for `cause`, and the SVM runs again at `now`.
  void on_checkpoint_done(Cause cause, Nanos requested_at, Nanos now);

  /// The cause of a checkpoint that is due at `now`; nothing: none is.
  std::optional<Cause> due(Nanos now) const;
  /// When due() changes by time alone; nothing: it doesn't.
  std::optional<Nanos> next_deadline() const;
  Nanos hold_ns() const;

 private:
  PolicyLimits limits_;
  Nanos hold_ns_;
  Nanos cost_ns_ = 0;
  Nanos epoch_started_ns_ = 0;
  bool epoch_open_ = false;
  std::optional<Cause> pending_;
};

}  // namespace twinstep::checkpoint
