// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "core/result.hpp"
#include "memory/mapping.hpp"
#include "memory/page_bitmap.hpp"

namespace twinstep::memory {

/// Pages that travel together: their numbers and, unless they are zeros, their content.
class Chunk {
 public:
  static Result<Chunk> create();

  /// Forgets the pages.
  void clear();
  bool empty() const { return data_numbers_.empty() && zero_numbers_.empty(); }
  std::size_t pages() const { return data_numbers_.size() + zero_numbers_.size(); }
  /// Whether so many more pages may be added.
  bool has_room_for(std::size_t pages) const;

  /// Adds a page whose content stays where and as it is until the chunk is sent.
  void add(PageNumber number, std::span<const std::byte> page);
  /// Adds a copy of a page that may change at any time.
  void add_copy(PageNumber number, std::span<const std::byte> page);
  /// Adds a page of zeros.
  void add_zeros(PageNumber number) { zero_numbers_.push_back(number); }

  std::span<const PageNumber> data_numbers() const { return data_numbers_; }
  std::span<const PageNumber> zero_numbers() const { return zero_numbers_; }
  /// The data pages' content in their order, in pieces of memory without gaps.
  std::span<const std::span<const std::byte>> runs() const { return runs_; }

 private:
  explicit Chunk(Mapping copies) : copies_(std::move(copies)) {}

  Mapping copies_;
  std::size_t copied_pages_ = 0;
  std::vector<PageNumber> data_numbers_;
  std::vector<PageNumber> zero_numbers_;
  std::vector<std::span<const std::byte>> runs_;
};

/// The pages of an image. Several streams take from it at the same time, each as fast as it gets rid of what it took.
class PageFeed {
 public:
  PageFeed() = default;
  virtual ~PageFeed() = default;
  PageFeed(const PageFeed&) = delete;
  PageFeed& operator=(const PageFeed&) = delete;

  /// How many pages there are at most.
  virtual std::size_t pages_max() const = 0;
  /// Adds the next pages to an empty chunk; none: there are no more. Called by several threads.
  virtual void fill(Chunk& chunk) = 0;
};

}  // namespace twinstep::memory
