// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>

#include "core/result.hpp"
#include "core/time.hpp"
#include "memory/dirty_source.hpp"
#include "memory/image_sender.hpp"
#include "memory/page_bitmap.hpp"
#include "memory/page_hash.hpp"
#include "memory/staged_pages.hpp"
#include "memory/svm_hashes.hpp"

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
  std::uint64_t pages_dirty = 0;   ///< written by the PVM or the SVM in this epoch
  std::uint64_t pages_copied = 0;  ///< during the pause
  Nanos scan_ns = 0;
  Nanos copy_ns = 0;
};

/// The memory of one protected VM on its primary host: which pages the secondary lacks, and how they get there.
/// Protecting goes start(), live_round() until few pages are left, then per checkpoint prestage(), stage() and
/// send_staged(). Calls must not overlap.
class PrimaryMemory {
 public:
  /// `ram` and `source` must outlive the object. `epoch_bytes_max`: most memory that one checkpoint may carry. `key`:
  /// of the page hashes.
  static Result<PrimaryMemory> create(std::span<const std::byte> ram, DirtySource& source, std::size_t epoch_bytes_max,
                                      PageHashKey key);

  /// A secondary that has nothing yet: watches for writes from now on, and takes all pages for missing there.
  Result<void> start();
  /// `present`: the pages that have memory, learned after start(). All others are zeros: they aren't read, as that
  /// would cost memory.
  void set_present(const PageBitmap& present);
  /// Sends what the secondary lacks, while the VM runs. Blocks.
  Result<LiveRound> live_round(ImageSender& sender, std::uint64_t generation, const ImageSender::OnSent& on_sent = {});
  /// Pages that the next round would send, but for what is written until then.
  std::uint64_t pages_pending() const { return pending_.count(); }

  /// How near an epoch's set is to its bound.
  struct Fullness {
    std::uint64_t pages_new = 0;      ///< written since the last look, at least
    std::uint64_t pages_to_full = 0;  ///< that may be written until it is near its bound
    bool full = false;                ///< it is: a checkpoint is due
  };
  /// Between checkpoints: looks how much the VM has written in this epoch so far.
  Result<Fullness> look();
  /// Between checkpoints, while both VMs run: sends pages of the next checkpoint ahead that differed between the VMs in
  /// the latest one and that the VM hasn't written since the last call, and returns how many. Blocks, but sends no more
  /// pages once `stopped` is true. Does nothing when this epoch's set is near its bound.
  Result<std::uint64_t> send_ahead(ImageSender& sender, std::uint64_t generation, const std::function<bool()>& stopped);

  /// The SVM is stopped, the VM still runs: copies most of what the checkpoint needs, so that little is left for the
  /// pause. What the VM writes meanwhile is copied again by stage(). Does nothing when there is little to copy.
  Result<void> prestage(const SvmPages& svm);
  /// The VM is stopped: copies what the secondary's VM may lack, that is what either wrote. The VM may run again
  /// afterwards, also after an Error, which means that nothing is staged and nothing forgotten.
  Result<StageInfo> stage(const SvmPages& svm);
  /// Sends what stage() copied and the secondary doesn't have, as its hashes in `svm` tell. Blocks; the VM runs
  /// meanwhile. After an Error the secondary must be started anew.
  Result<SentInfo> send_staged(ImageSender& sender, std::uint64_t generation, std::uint32_t epoch, const SvmPages& svm,
                               const ImageTail& tail);

  /// Whether prestage() or stage() failed because the checkpoint would be beyond the bound: only live rounds, from
  /// start() on, can carry it.
  bool beyond_bound() const { return beyond_bound_; }

  std::size_t pages() const { return ram_.size() / kPageBytes; }

 private:
  PrimaryMemory(std::span<const std::byte> ram, DirtySource& source, PageHashKey key, StagedPages staged);

  ImageHeader header_of(ImageKind kind, std::uint64_t generation) const;
  Result<std::size_t> scan();
  Result<std::size_t> copy_unstaged(const SvmPages& svm);
  Result<void> copy(PageNumber number, const SvmHashes* svm);
  Fullness fullness(std::uint64_t pages);
  /// How many pages may be staged: the secondary keeps those that were sent ahead beside them.
  std::size_t room() const { return staged_.pages_max() - sent_ahead_.pages; }
  Result<std::size_t> pages_to_copy(const SvmPages& svm);

  std::span<const std::byte> ram_;
  DirtySource* source_;
  PageHashKey key_;
  StagedPages staged_;              // the checkpoint in the making
  PageBitmap pending_;              // written by the VM in this epoch, or not yet sent to a new secondary
  PageBitmap unstaged_;             // of pending_: neither copied nor sent ahead since
  PageBitmap ahead_;                // sent ahead in this epoch, whatever was written since
  PageBitmap differed_;             // sent in the latest checkpoint that had them
  SentInfo sent_ahead_;             // in this epoch
  PageBitmap absent_;               // zeros without memory, before the first round
  std::uint64_t looked_pages_ = 0;  // found in this epoch by the latest look
  bool beyond_bound_ = false;
  PageBitmap found_;  // scratch
};

}  // namespace twinstep::memory
