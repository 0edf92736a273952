// SPDX-License-Identifier: Apache-2.0
#include "memory/page_bitmap.hpp"

#include <algorithm>
#include <stdexcept>
#include <string>

namespace twinstep::memory {
namespace {

void require_same_size(const PageBitmap& a, const PageBitmap& b) {
  if (a.pages() != b.pages()) throw std::logic_error("page sets of different VMs combined");
}

}  // namespace

Result<PageBitmap> PageBitmap::from_words(std::size_t pages, std::span<const std::uint64_t> words) {
  PageBitmap set(pages);
  if (words.size() != set.words_.size()) {
    return fail("the peer's list of dirty pages has " + std::to_string(words.size()) + " words, this VM's RAM needs " +
                std::to_string(set.words_.size()));
  }
  std::copy(words.begin(), words.end(), set.words_.begin());
  if (pages % kWordBits != 0 && (set.words_.back() >> (pages % kWordBits)) != 0) {
    return fail("the peer's list of dirty pages names pages beyond the end of the VM's RAM");
  }
  return set;
}

std::size_t PageBitmap::count() const {
  std::size_t total = 0;
  for (const std::uint64_t word : words_) total += static_cast<std::size_t>(std::popcount(word));
  return total;
}

std::optional<PageNumber> PageBitmap::next(std::size_t from) const {
  if (from >= pages_) return std::nullopt;
  std::size_t i = from / kWordBits;
  std::uint64_t word = words_[i] & (~std::uint64_t{0} << (from % kWordBits));
  while (word == 0) {
    if (++i == words_.size()) return std::nullopt;
    word = words_[i];
  }
  return static_cast<PageNumber>(i * kWordBits + static_cast<std::size_t>(std::countr_zero(word)));
}

void PageBitmap::reset_from(std::size_t first) {
  if (first >= pages_) return;
  const std::size_t i = first / kWordBits;
  words_[i] &= ~(~std::uint64_t{0} << (first % kWordBits));
  std::fill(words_.begin() + static_cast<std::ptrdiff_t>(i) + 1, words_.end(), 0);
}

void PageBitmap::set_range(std::size_t first, std::size_t end) {
  if (end > pages_) throw std::logic_error("page beyond the end of the VM's RAM");
  while (first < end) {
    const std::size_t bit = first % kWordBits;
    const std::size_t run = std::min(end - first, kWordBits - bit);
    const std::uint64_t ones = run == kWordBits ? ~std::uint64_t{0} : (std::uint64_t{1} << run) - 1;
    words_[first / kWordBits] |= ones << bit;
    first += run;
  }
}

void PageBitmap::clear() {
  std::fill(words_.begin(), words_.end(), 0);
}

PageBitmap& PageBitmap::operator|=(const PageBitmap& other) {
  require_same_size(*this, other);
  for (std::size_t i = 0; i < words_.size(); ++i) words_[i] |= other.words_[i];
  return *this;
}

PageBitmap& PageBitmap::operator-=(const PageBitmap& other) {
  require_same_size(*this, other);
  for (std::size_t i = 0; i < words_.size(); ++i) words_[i] &= ~other.words_[i];
  return *this;
}

PageBitmap& PageBitmap::operator&=(const PageBitmap& other) {
  require_same_size(*this, other);
  for (std::size_t i = 0; i < words_.size(); ++i) words_[i] &= other.words_[i];
  return *this;
}

}  // namespace twinstep::memory
