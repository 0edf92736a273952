// SPDX-License-Identifier: Apache-2.0
#include "memory/ram_feed.hpp"

#include <utility>
#include <vector>

#include "memory/image_format.hpp"

namespace twinstep::memory {

RamFeed::RamFeed(std::span<const std::byte> ram, const PageBitmap& pages, const PageBitmap& absent,
                 std::function<bool()> stopped)
    : ram_(ram), pages_(&pages), absent_(&absent), stopped_(std::move(stopped)), count_(pages.count()) {}

// Takes the next pages out of the set. Those to be copied come back in `numbers`.
void RamFeed::claim(Chunk& chunk, std::vector<PageNumber>& numbers) {
  const std::lock_guard lock(mutex_);
  if (stopped_ && stopped_()) return;
  while (numbers.size() < kChunkDataPagesMax && numbers.size() + chunk.pages() < kChunkPagesMax) {
    const auto page = pages_->next(next_);
    next_ = page ? std::size_t{*page} + 1 : pages_->pages();
    if (!page) return;
    if (absent_->test(*page)) {
      chunk.add_zeros(*page);
    } else {
      numbers.push_back(*page);
    }
  }
}

void RamFeed::fill(Chunk& chunk) {
  std::vector<PageNumber> numbers;
  numbers.reserve(kChunkDataPagesMax);
  claim(chunk, numbers);
  for (const PageNumber number : numbers) {
    chunk.add_copy(number, ram_.subspan(std::size_t{number} * kPageBytes, kPageBytes));
  }
}

}  // namespace twinstep::memory
