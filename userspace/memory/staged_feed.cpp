// SPDX-License-Identifier: Apache-2.0
#include "memory/staged_feed.hpp"

#include <algorithm>

namespace twinstep::memory {
namespace {

/// Taken at once: few enough for even shares, many enough for runs without gaps.
constexpr std::size_t kPagesPerTurn = 32;

}  // namespace

StagedFeed::StagedFeed(const StagedPages& staged, const SvmPages& svm, const PageBitmap& ahead, PageHashKey key)
    : staged_(&staged), svm_(&svm), ahead_(&ahead), key_(key), given_(staged.size()) {
  hashed_.reserve(svm.hashes.size());
  svm.dirty.for_each([&](PageNumber number) {
    if (hashed_.size() < svm.hashes.size()) hashed_.push_back(number);
  });
}

// The staged pages come in no order.
bool StagedFeed::secondary_has(std::size_t index) const {
  const PageNumber number = staged_->numbers()[index];
  // What it was sent ahead is older, and must be overruled even if its own page is the newer.
  if (ahead_->test(number)) return false;
  const auto found = std::lower_bound(hashed_.begin(), hashed_.end(), number);
  if (found == hashed_.end() || *found != number) return false;
  return svm_->hashes[static_cast<std::size_t>(found - hashed_.begin())] == hash_page(staged_->page(index), key_);
}

void StagedFeed::fill(Chunk& chunk) {
  while (chunk.has_room_for(kPagesPerTurn)) {
    const std::size_t first = next_.fetch_add(kPagesPerTurn);
    if (first >= staged_->size()) return;
    for (std::size_t i = first; i < std::min(first + kPagesPerTurn, staged_->size()); ++i) {
      if (secondary_has(i)) continue;
      given_[i] = 1;
      chunk.add(staged_->numbers()[i], staged_->page(i));
    }
  }
}

void StagedFeed::note_differing(PageBitmap& differed) const {
  for (std::size_t i = 0; i < given_.size(); ++i) {
    if (given_[i] != 0) {
      differed.set(staged_->numbers()[i]);
    } else {
      differed.reset(staged_->numbers()[i]);
    }
  }
}

}  // namespace twinstep::memory
