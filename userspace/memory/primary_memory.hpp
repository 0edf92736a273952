// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "core/result.hpp"
#include "core/time.hpp"
#include "memory/dirty_source.hpp"
#include "memory/image_sender.hpp"
#include "memory/page_bitmap.hpp"
#include "memory/staging.hpp"

namespace twinstep::memory {

/// One round of the first synchronisation.
struct LiveRound {
  std::uint64_t pages_sent = 0;
  std::uint64_t pages_left =
      0;  ///< written while the round went on: what another round, or the checkpoint, has to send
  std::uint64_t bytes_sent = 0;
  bool repeatable = true;  ///< false: another round would send nothing, only the checkpoint's scan tells what is left
};

/// What the pause of a checkpoint found.
struct StageInfo {
  std::uint64_t pages_primary = 0;  ///< written by the PVM and not yet sent
  std::uint64_t pages_secondary = 0;
  std::uint64_t pages_staged = 0;  ///< of either
  Nanos scan_ns = 0;
  Nanos copy_ns = 0;
};

/// The memory of one protected VM on its primary host: which pages the secondary lacks, and how they get there.
/// Protecting goes start(), live_round() until few pages are left, then per checkpoint stage() and send_staged(). Calls
/// must not overlap.
class PrimaryMemory {
 public:
  /// `ram` and `source` must outlive the object. `epoch_bytes_max`: most memory that one checkpoint may carry.
  static Result<PrimaryMemory> create(std::span<const std::byte> ram, DirtySource& source, std::size_t epoch_bytes_max);

  /// A secondary that has nothing yet: watches for writes from now on, and takes all pages for missing there.
  Result<void> start();
  /// Sends what the secondary lacks, while the VM runs. Blocks.
  Result<LiveRound> live_round(ImageSender& sender, std::uint64_t generation);
  /// The VM is stopped: copies what the secondary's VM lacks, that is what either wrote. The VM may run again
  /// afterwards, also after an Error, which means that nothing is staged and nothing forgotten.
  Result<StageInfo> stage(const PageBitmap& svm_dirty);
  /// Sends what stage() copied. Blocks; the VM runs meanwhile. After an Error the secondary must be started anew.
  /// Returns the bytes sent.
  Result<std::uint64_t> send_staged(ImageSender& sender, std::uint64_t generation, std::uint32_t epoch,
                                    std::span<const std::byte> meta, std::span<const std::byte> device_state);

  std::size_t pages() const { return ram_.size() / kPageBytes; }

 private:
  PrimaryMemory(std::span<const std::byte> ram, DirtySource& source, Staging staging);

  Result<void> send_pending(ImageSender& sender);

  std::span<const std::byte> ram_;
  DirtySource* source_;
  Staging staging_;
  PageBitmap pending_;    // written by the PVM, not yet sent
  PageBitmap selection_;  // scratch
};

}  // namespace twinstep::memory
