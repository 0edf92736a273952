// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <span>
#include <vector>

#include "memory/page_bitmap.hpp"
#include "memory/page_hash.hpp"

namespace twinstep::memory {

/// Tells of which pages the SVM has the same content, by the hashes that the secondary sent.
class SvmHashes {
 public:
  /// `svm` must outlive it.
  SvmHashes(const SvmPages& svm, PageHashKey key) : svm_(&svm), key_(key) {
    numbers_.reserve(svm.hashes.size());
    svm.dirty.for_each([&](PageNumber number) {
      if (numbers_.size() < svm.hashes.size()) numbers_.push_back(number);
    });
  }
  bool has(PageNumber number, std::span<const std::byte> content) const {
    const auto found = std::lower_bound(numbers_.begin(), numbers_.end(), number);
    if (found == numbers_.end() || *found != number) return false;
    return svm_->hashes[static_cast<std::size_t>(found - numbers_.begin())] == hash_page(content, key_);
  }

 private:
  const SvmPages* svm_;
  PageHashKey key_;
  std::vector<PageNumber> numbers_;  // of which page each of svm_'s hashes is, in ascending order
};

}  // namespace twinstep::memory
