// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "bpf/abi/twinstep_twins.h"

namespace twinstep::daemon {

/// Which frames of a numbered sequence have come (see ts_sequence_take).
class SequenceWindow {
 public:
  /// Whether this frame is to be taken: it came for the first time, and not long after later ones.
  bool take(std::uint32_t sequence) { return ts_sequence_take(&window_, sequence, &missing_) != 0; }
  /// How many have not come so far.
  std::uint64_t missing() const { return static_cast<std::uint64_t>(missing_); }

 private:
  ts_sequence window_{};
  __s64 missing_ = 0;
};

}  // namespace twinstep::daemon
