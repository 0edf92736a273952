// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "core/result.hpp"
#include "memory/mapping.hpp"
#include "memory/page_bitmap.hpp"

namespace twinstep::memory {

/// Copies of pages, bounded. The memory of one use is kept for the next, as touched memory costs no page faults; what
/// the latest use didn't need is given back.
class Staging {
 public:
  /// `bytes_max`: room for the pages' content, rounded down to whole pages.
  static Result<Staging> create(std::size_t bytes_max);

  std::size_t pages_max() const { return memory_.bytes().size() / kPageBytes; }
  std::size_t size() const { return numbers_.size(); }
  /// Forgets the content.
  void clear();

  /// Adds a copy of page `number` of `ram`. An Error, and nothing added, if there is no room.
  Result<void> append(std::span<const std::byte> ram, PageNumber number);
  /// Replaces the content of the page that was added as the `index`th.
  void replace(std::span<const std::byte> ram, std::size_t index);

  /// Room for `count` pages at the end, to be filled by the caller. An Error if there is no room.
  Result<std::span<std::byte>> reserve(std::size_t count);
  /// Makes the first numbers.size() pages of what was reserved part of the content.
  void commit(std::span<const PageNumber> numbers);

  /// The pages' numbers in the order in which they were added, and the content of each.
  std::span<const PageNumber> numbers() const { return numbers_; }
  std::span<const std::byte> page(std::size_t index) const {
    return memory_.bytes().subspan(index * kPageBytes, kPageBytes);
  }

 private:
  explicit Staging(Mapping memory) : memory_(std::move(memory)) {}

  Mapping memory_;
  std::vector<PageNumber> numbers_;
  std::size_t touched_pages_ = 0;  // of memory_, from its start: these cost memory
};

}  // namespace twinstep::memory
