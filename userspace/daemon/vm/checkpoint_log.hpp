// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <deque>
#include <optional>
#include <string>

#include "core/time.hpp"

namespace twinstep::daemon {

/// How the pause of one checkpoint was spent (primary).
struct PauseSteps {
  Nanos stop_ns = 0;  ///< QMP stop
  Nanos save_ns = 0;  ///< device state
  Nanos scan_ns = 0;  ///< dirty pages, and the epoch's change in the packet plane
  Nanos copy_ns = 0;  ///< selected pages into the staging buffer; with memory.verify, checksums of all pages too
  Nanos cont_ns = 0;  ///< QMP cont
  Nanos total_ns() const { return stop_ns + save_ns + scan_ns + copy_ns + cont_ns; }
};

/// One checkpoint as the primary saw it.
struct CheckpointEntry {
  std::uint32_t epoch = 0;
  std::string cause;
  PauseSteps pause;
  std::uint64_t pages_dirty = 0;  ///< PVM's and SVM's together
  std::uint64_t pages_sent = 0;
  std::uint64_t bytes_sent = 0;
  bool verified = false;  ///< with checksums of all pages, which the secondary compares
  Nanos paused_at_ns = 0;
  Nanos commit_ns = 0;  ///< from the pause's end to the peer's commit; 0: not yet
  Nanos apply_ns = 0;   ///< from the commit until the SVM ran; 0: not yet
};

/// The latest checkpoints of a VM, a bounded number of them.
class CheckpointLog {
 public:
  static constexpr std::size_t kEntriesMax = 4096;

  void add(CheckpointEntry entry);
  /// The entry of `epoch`, if it is the newest one.
  CheckpointEntry* newest(std::uint32_t epoch);
  const std::deque<CheckpointEntry>& entries() const { return entries_; }

  /// The smallest pause that at least `fraction` (0..1) of the logged checkpoints don't exceed; nothing: none logged.
  std::optional<Nanos> pause_quantile_ns(double fraction) const;

 private:
  std::deque<CheckpointEntry> entries_;
};

}  // namespace twinstep::daemon
