// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <span>
#include <utility>

#include "core/result.hpp"
#include "memory/mapping.hpp"
#include "memory/page_bitmap.hpp"

namespace twinstep::memory {

/// Memory for the content of pages, bounded. The memory of one use is kept for the next, as touched memory costs no
/// page faults; what the latest use didn't need is given back.
class PageRoom {
 public:
  /// `bytes_max`: rounded down to whole pages.
  static Result<PageRoom> create(std::size_t bytes_max);

  std::size_t pages_max() const { return memory_.bytes().size() / kPageBytes; }
  std::size_t size() const { return used_pages_; }
  /// Takes `count` places that lie together and returns the first one's number. An Error if there is no room.
  Result<std::size_t> take(std::size_t count);
  /// Forgets the content.
  void clear();

  std::span<std::byte> pages(std::size_t first, std::size_t count) {
    return memory_.bytes().subspan(first * kPageBytes, count * kPageBytes);
  }
  std::span<const std::byte> page(std::size_t index) const {
    return memory_.bytes().subspan(index * kPageBytes, kPageBytes);
  }

 private:
  explicit PageRoom(Mapping memory) : memory_(std::move(memory)) {}

  Mapping memory_;
  std::size_t used_pages_ = 0;
  std::size_t touched_pages_ = 0;  // from the start: these cost memory
};

}  // namespace twinstep::memory
