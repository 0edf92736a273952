// SPDX-License-Identifier: Apache-2.0
#include "memory/staged_pages.hpp"

#include <cstring>
#include <utility>

namespace twinstep::memory {

Result<StagedPages> StagedPages::create(std::size_t bytes_max, std::size_t ram_pages) {
  auto room = PageRoom::create(bytes_max);
  if (!room) return tl::unexpected(room.error());
  return Mapping::anonymous(ram_pages * sizeof(Slot)).map([&](Mapping slots) {
    return StagedPages(std::move(*room), std::move(slots));
  });
}

Result<void> StagedPages::copy(std::span<const std::byte> ram, PageNumber number) {
  Slot& slot = slots()[number];
  if (slot == 0) {
    const auto place = room_.take(1);
    if (!place) return tl::unexpected(place.error());
    numbers_.push_back(number);
    slot = static_cast<Slot>(*place + 1);
  }
  const auto page = room_.pages(slot - 1, 1);
  std::memcpy(page.data(), ram.data() + std::size_t{number} * kPageBytes, page.size());
  return {};
}

void StagedPages::clear() {
  for (const PageNumber number : numbers_) slots()[number] = 0;
  numbers_.clear();
  room_.clear();
}

}  // namespace twinstep::memory
