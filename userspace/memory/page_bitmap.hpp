// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "core/result.hpp"

namespace twinstep::memory {

/// The unit in which guest RAM is tracked, sent and written.
inline constexpr std::size_t kPageBytes = 4096;

/// A number of a page of guest RAM, from 0: 2^32 pages are 16 TiB.
using PageNumber = std::uint32_t;

/// A set of pages of one VM's RAM. Pure. Bits beyond pages() are never set.
class PageBitmap {
 public:
  PageBitmap() = default;
  explicit PageBitmap(std::size_t pages) : pages_(pages), words_((pages + kWordBits - 1) / kWordBits) {}

  /// A set received from a peer. An Error if the number of words is not that of `pages`, or a bit beyond `pages` is
  /// set.
  static Result<PageBitmap> from_words(std::size_t pages, std::span<const std::uint64_t> words);
  /// Page n is bit n % 64 of word n / 64.
  std::span<const std::uint64_t> words() const { return words_; }

  std::size_t pages() const { return pages_; }
  std::size_t count() const;
  bool test(std::size_t page) const { return ((words_[page / kWordBits] >> (page % kWordBits)) & 1) != 0; }

  /// The first page of the set that isn't before `from`.
  std::optional<PageNumber> next(std::size_t from) const;

  void set(std::size_t page) { words_[page / kWordBits] |= std::uint64_t{1} << (page % kWordBits); }
  /// Adds pages [first, end).
  void set_range(std::size_t first, std::size_t end);
  void reset(std::size_t page) { words_[page / kWordBits] &= ~(std::uint64_t{1} << (page % kWordBits)); }
  /// Takes all pages from `first` on away.
  void reset_from(std::size_t first);
  void set_all() { set_range(0, pages_); }
  void clear();

  /// Union and intersection with a set of the same VM (same pages()).
  PageBitmap& operator|=(const PageBitmap& other);
  PageBitmap& operator&=(const PageBitmap& other);
  /// Takes the pages of `other` away.
  PageBitmap& operator-=(const PageBitmap& other);
  bool operator==(const PageBitmap&) const = default;

  /// Calls visit(PageNumber) for each page, in ascending order.
  template <typename Visit>
  void for_each(Visit&& visit) const {
    for (std::size_t i = 0; i < words_.size(); ++i) {
      for (std::uint64_t word = words_[i]; word != 0; word &= word - 1) {
        visit(static_cast<PageNumber>(i * kWordBits + static_cast<std::size_t>(std::countr_zero(word))));
      }
    }
  }

 private:
  static constexpr std::size_t kWordBits = 64;

  std::size_t pages_ = 0;
  std::vector<std::uint64_t> words_;
};

}  // namespace twinstep::memory
