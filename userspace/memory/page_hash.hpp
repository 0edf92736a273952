// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <type_traits>
#include <vector>

#include "memory/page_bitmap.hpp"

namespace twinstep::memory {

/// XXH3-128 of a page's content, with a key that no guest knows: two pages of one hash are taken for equal.
struct PageHash {
  std::uint64_t low = 0;
  std::uint64_t high = 0;
  bool operator==(const PageHash&) const = default;
};
static_assert(sizeof(PageHash) == 16 && std::has_unique_object_representations_v<PageHash>);

/// The key of a pairing's page hashes: the same on both hosts.
using PageHashKey = std::uint64_t;

PageHash hash_page(std::span<const std::byte> page, PageHashKey key);

/// Hashes in one checkpoint at most, 16 MiB of them. What an SVM wrote beyond is sent without a look.
inline constexpr std::size_t kPageHashesMax = std::size_t{1} << 20;

/// What the SVM wrote since its RAM was last equal to the PVM's.
struct SvmPages {
  PageBitmap dirty;
  std::vector<PageHash> hashes;  ///< of the first pages of `dirty`, in order; kPageHashesMax at most
};

}  // namespace twinstep::memory
