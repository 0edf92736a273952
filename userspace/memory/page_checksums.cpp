// SPDX-License-Identifier: Apache-2.0
#include "memory/page_checksums.hpp"

#include <array>
#include <string>

#include "memory/image_format.hpp"

namespace twinstep::memory {

std::vector<std::uint64_t> page_checksums(std::span<const std::byte> ram, const PageBitmap& present) {
  const std::array<std::byte, kPageBytes> zeros{};
  std::vector<std::uint64_t> checksums(present.pages(), checksum_of(zeros));
  present.for_each([&](PageNumber number) {
    checksums[number] = checksum_of(ram.subspan(std::size_t{number} * kPageBytes, kPageBytes));
  });
  return checksums;
}

Result<void> compare_pages(std::span<const std::byte> ram, const PageBitmap& present,
                           std::span<const std::uint64_t> expected, const PageBitmap& excepted) {
  const auto found = page_checksums(ram, present);
  if (found.size() != expected.size()) return fail("the checksums are of a VM of another size");
  std::size_t differing = 0;
  std::size_t first = 0;
  for (std::size_t page = found.size(); page-- > 0;) {
    if (found[page] == expected[page] || excepted.test(page)) continue;
    ++differing;
    first = page;
  }
  if (differing == 0) return {};
  return fail("the secondary's memory differs from the primary's in " + std::to_string(differing) +
              " pages, the first is page " + std::to_string(first));
}

}  // namespace twinstep::memory
