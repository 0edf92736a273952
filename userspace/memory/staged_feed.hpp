// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "memory/chunk.hpp"
#include "memory/page_bitmap.hpp"
#include "memory/page_hash.hpp"
#include "memory/staged_pages.hpp"
#include "memory/svm_hashes.hpp"

namespace twinstep::memory {

/// The staged pages that the secondary doesn't have, as its hashes tell.
class StagedFeed final : public PageFeed {
 public:
  /// `ahead`: pages of which the secondary keeps an older version, sent ahead. All must outlive the feed.
  StagedFeed(const StagedPages& staged, const SvmPages& svm, const PageBitmap& ahead, PageHashKey key);

  std::size_t pages_max() const override { return staged_->size(); }
  void fill(Chunk& chunk) override;
  /// When all of it was sent: adds the pages that the secondary didn't have, and takes away those that it had.
  void note_differing(PageBitmap& differed) const;

 private:
  bool secondary_has(std::size_t index) const;

  const StagedPages* staged_;
  const PageBitmap* ahead_;
  SvmHashes svm_;
  std::atomic<std::size_t> next_ = 0;
  std::vector<std::uint8_t> given_;  // of each staged page, whether the secondary lacks it
};

}  // namespace twinstep::memory
