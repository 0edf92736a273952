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

/// Copies of pages, bounded, in memory that is kept for the next use: touched once, it costs no page faults afterwards.
class Staging {
 public:
  /// `bytes_max`: room for the pages' content, rounded down to whole pages.
  static Result<Staging> create(std::size_t bytes_max);

  std::size_t pages_max() const { return memory_.bytes().size() / kPageBytes; }
  std::size_t size() const { return numbers_.size(); }
  void clear() { numbers_.clear(); }

  /// Replaces the content by copies of `pages` of `ram`. An Error, and no content, if there is no room for all.
  Result<void> copy(std::span<const std::byte> ram, const PageBitmap& pages);

  /// Adds copies of the pages of `ram` that have these numbers. An Error, and nothing added, if there is no room for
  /// all.
  Result<void> append(std::span<const std::byte> ram, std::span<const PageNumber> numbers);

  /// Room for `count` pages at the end, to be filled by the caller. An Error if there is no room.
  Result<std::span<std::byte>> reserve(std::size_t count);
  /// Makes the first numbers.size() pages of what was reserved part of the content.
  void commit(std::span<const PageNumber> numbers);

  /// The pages' numbers, and their content in the same order.
  std::span<const PageNumber> numbers() const { return numbers_; }
  std::span<const std::byte> bytes() const { return memory_.bytes().first(numbers_.size() * kPageBytes); }

 private:
  explicit Staging(Mapping memory) : memory_(std::move(memory)) {}

  Mapping memory_;
  std::vector<PageNumber> numbers_;
};

}  // namespace twinstep::memory
