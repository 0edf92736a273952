// SPDX-License-Identifier: Apache-2.0
#include "memory/staged_pages.hpp"

#include <utility>

namespace twinstep::memory {

Result<StagedPages> StagedPages::create(std::size_t bytes_max, std::size_t ram_pages) {
  auto pages = Staging::create(bytes_max);
  if (!pages) return tl::unexpected(pages.error());
  return Mapping::anonymous(ram_pages * sizeof(Slot)).map([&](Mapping slots) {
    return StagedPages(std::move(*pages), std::move(slots));
  });
}

Result<void> StagedPages::copy(std::span<const std::byte> ram, PageNumber number) {
  Slot& slot = slots()[number];
  if (slot != 0) {
    pages_.replace(ram, slot - 1);
    return {};
  }
  if (auto added = pages_.append(ram, number); !added) return added;
  slot = static_cast<Slot>(pages_.size());
  return {};
}

void StagedPages::clear() {
  for (const PageNumber number : pages_.numbers()) slots()[number] = 0;
  pages_.clear();
}

}  // namespace twinstep::memory
