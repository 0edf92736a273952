// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "core/time.hpp"

namespace twinstep::checkpoint {

enum class Mode : std::uint8_t {
  colo,       ///< the SVM runs, and output leaves when it has sent the same
  periodic,   ///< the SVM rests; output leaves by checkpoints at an interval
  automatic,  ///< "auto": compares while that pays, else the SVM rests and waiting output causes a checkpoint
};
/// The word that users see and write.
const char* to_string(Mode mode);
/// Nothing: there is no such mode.
std::optional<Mode> mode_of(std::string_view word);

struct ModeLimits {
  Nanos short_epoch_ns = 200 * kMillisecond;  ///< comparing doesn't pay in an epoch in which output left no longer
  int short_epochs_max = 4;                   ///< so many in a row end the comparison
  Nanos good_epoch_ns = kSecond;              ///< an epoch that long shows that the guests agree again
  Nanos probe_min_ns = 2 * kSecond;           ///< until comparing is tried again; doubled each time in vain
  Nanos probe_max_ns = 64 * kSecond;
};

/// Decides whether the SVM runs and is compared in the next epoch. Pure.
class ModeChooser {
 public:
  explicit ModeChooser(Mode mode, ModeLimits limits = {}) : limits_(limits) { set(mode); }

  /// An operator's choice. Forgets what was learned.
  void set(Mode mode);
  Mode mode() const { return mode_; }

  /// A compared epoch is over. disagreed: the comparison ended it; useful_ns: for how long output could leave.
  void on_compared_epoch(bool disagreed, Nanos useful_ns, Nanos now);

  /// Whether the next epoch is to be compared if it begins at `now`.
  bool compares(Nanos now) const;
  /// When compares() turns true by time alone; nothing: it doesn't.
  std::optional<Nanos> next_change(Nanos now) const;
  /// Why it is as compares() says, for people.
  const std::string& reason() const { return reason_; }

 private:
  void give_up(Nanos now);

  ModeLimits limits_;
  Mode mode_ = Mode::colo;
  int short_epochs_ = 0;
  bool probing_ = false;           // comparing is on trial after it did not pay
  std::optional<Nanos> probe_at_;  // not comparing until then
  Nanos probe_after_ns_ = 0;
  std::string reason_;
};

}  // namespace twinstep::checkpoint
