// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <functional>
#include <mutex>
#include <span>

#include "memory/chunk.hpp"
#include "memory/page_bitmap.hpp"

namespace twinstep::memory {

/// Pages of a running VM's RAM in ascending order, as copies: a page that the guest writes during the send would not
/// match its checksum.
class RamFeed final : public PageFeed {
 public:
  /// `absent`: zeros that aren't read. `stopped`: when true, no more pages are given out. All must outlive the feed.
  RamFeed(std::span<const std::byte> ram, const PageBitmap& pages, const PageBitmap& absent,
          std::function<bool()> stopped = {});

  std::size_t pages_max() const override { return count_; }
  void fill(Chunk& chunk) override;
  /// All of the pages below it were given out, and none from it on.
  std::size_t end() const { return next_; }

 private:
  void claim(Chunk& chunk, std::vector<PageNumber>& numbers);

  std::span<const std::byte> ram_;
  const PageBitmap* pages_;
  const PageBitmap* absent_;
  std::function<bool()> stopped_;
  std::size_t count_;
  std::mutex mutex_;
  std::size_t next_ = 0;
};

}  // namespace twinstep::memory
