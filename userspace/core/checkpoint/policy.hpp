// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "core/checkpoint/mode.hpp"
#include "core/compare/comparer.hpp"
#include "core/time.hpp"

namespace twinstep::checkpoint {

/// Why a checkpoint is taken. The first seven are the packet plane's causes.
enum class Cause : std::uint8_t {
  content,
  stall,
  ack,
  datagram,
  base,
  pressure,     ///< a buffer is nearly full: of held frames, of flows, of the epoch's memory
  output,       ///< output waits, and the SVM rests
  epoch_limit,  ///< the longest epoch
  initial,      ///< the first of a protection
  mode,         ///< the comparison begins or ends
};
const char* to_string(Cause cause);
Cause from(compare::Cause cause);

struct PolicyLimits {
  Nanos epoch_max_ns = 10 * kSecond;           ///< longest time between two checkpoints
  Nanos hold_min_ns = 20 * kMillisecond;       ///< smallest HOLD
  Nanos hold_max_ns = 500 * kMillisecond;      ///< largest HOLD
  Nanos hold_initial_ns = 100 * kMillisecond;  ///< HOLD until a checkpoint was measured
  Nanos period_ns = 25 * kMillisecond;         ///< mode periodic: shortest time from one checkpoint to the next
  ModeLimits mode;
};

/// When a checkpoint is due, how long the comparison may wait for the SVM (HOLD), and whether the SVM runs in the next
/// epoch. Pure.
/// HOLD is 1.5 times the smoothed measured cost of a checkpoint (request until the SVM runs again), doubled after an
/// epoch that a missing twin ended within a second (a storm feeds itself otherwise), reset by an epoch that lasted
/// longer.
/// While the SVM rests, output that waits causes a checkpoint: in mode periodic at its interval, in mode auto as soon
/// as the PVM has run for as long as the pause before took. The replies of that time then leave by one checkpoint.
class Policy {
 public:
  explicit Policy(PolicyLimits limits, Mode mode = Mode::colo);

  /// An operator's choice.
  void set_mode(Mode mode) { chooser_.set(mode); }
  Mode mode() const { return chooser_.mode(); }
  /// Why the SVM runs, or rests.
  const std::string& reason() const { return chooser_.reason(); }

  /// An epoch begins: the SVM runs in it, or rests.
  void on_epoch_started(bool compared, Nanos now);
  /// The packet plane asks for a checkpoint.
  void on_diverged(compare::Cause cause, Nanos now);
  /// A checkpoint for `cause` begins. Returns whether the epoch that it starts is to be compared.
  bool on_checkpoint_begun(Cause cause, Nanos now);
  /// The PVM runs again after the pause of that checkpoint.
  void on_pause_done(Nanos now);
  /// That checkpoint is over: the SVM runs again, or has nothing to do.
  void on_checkpoint_done(Cause cause, Nanos requested_at, Nanos now);

  /// The cause of a checkpoint that is due at `now`; nothing: none is.
  std::optional<Cause> due(Nanos now) const;
  /// When due() changes by time alone; nothing: it doesn't.
  std::optional<Nanos> next_deadline() const;
  Nanos hold_ns() const;

 private:
  Nanos output_due_at() const;

  PolicyLimits limits_;
  ModeChooser chooser_;
  Nanos hold_ns_;
  Nanos cost_ns_ = 0;
  Nanos epoch_started_ns_ = 0;
  bool epoch_open_ = false;
  bool compared_ = false;       // in the epoch that is open
  bool next_compared_ = false;  // in the one that the checkpoint under way begins
  Nanos begun_at_ns_ = 0;       // of the latest checkpoint
  Nanos pause_done_at_ns_ = 0;  // of the same
  bool output_waits_ = false;   // and the SVM rests
  std::optional<Cause> pending_;
};

}  // namespace twinstep::checkpoint
