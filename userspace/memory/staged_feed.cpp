// SPDX-License-Identifier: Apache-2.0
#include "memory/staged_feed.hpp"

#include <algorithm>

namespace twinstep::memory {
namespace {

/// Taken at once: few enough for even shares, many enough for runs without gaps.
constexpr std::size_t kPagesPerTurn = 32;

}  // namespace

StagedFeed::StagedFeed(const StagedPages& staged, const SvmPages& svm, const PageBitmap& ahead, PageHashKey key)
    : staged_(&staged), ahead_(&ahead), svm_(svm, key), given_(staged.size()) {}

bool StagedFeed::secondary_has(std::size_t index) const {
  const PageNumber number = staged_->numbers()[index];
  // What it was sent ahead is older, and must be overruled even if its own page is the newer.
  return !ahead_->test(number) && svm_.has(number, staged_->page(index));
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
