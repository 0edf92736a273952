// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "core/result.hpp"
#include "memory/page_bitmap.hpp"

namespace twinstep::memory {

/// XXH3-64 of each page of `ram`. `present`: the pages that have memory; all others count as zeros and aren't touched.
std::vector<std::uint64_t> page_checksums(std::span<const std::byte> ram, const PageBitmap& present);

/// Compares RAM with the checksums of what it must be, but for the pages of `excepted`. The Error names the first page
/// that differs, and how many do.
Result<void> compare_pages(std::span<const std::byte> ram, const PageBitmap& present,
                           std::span<const std::uint64_t> expected, const PageBitmap& excepted);

}  // namespace twinstep::memory
