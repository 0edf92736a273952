// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "core/result.hpp"
#include "memory/mapping.hpp"
#include "memory/page_bitmap.hpp"
#include "memory/page_room.hpp"

namespace twinstep::memory {

/// Copies of pages of one VM's RAM, each page once: a newer copy takes the place of the older.
class StagedPages {
 public:
  /// `bytes_max`: room for the pages' content. `ram_pages`: pages of the VM.
  static Result<StagedPages> create(std::size_t bytes_max, std::size_t ram_pages);

  /// Copies page `number` of `ram`. An Error, and the older copy if there is one, when there is no room.
  Result<void> copy(std::span<const std::byte> ram, PageNumber number);
  bool holds(PageNumber number) const { return slots()[number] != 0; }
  void clear();

  std::size_t size() const { return numbers_.size(); }
  std::size_t pages_max() const { return room_.pages_max(); }
  /// The pages' numbers in the order in which they were first copied, and the content of each.
  std::span<const PageNumber> numbers() const { return numbers_; }
  std::span<const std::byte> page(std::size_t index) const { return room_.page(index); }

 private:
  using Slot = std::uint32_t;  // index in room_ + 1; 0: not here

  StagedPages(PageRoom room, Mapping slots) : room_(std::move(room)), slots_(std::move(slots)) {}
  Slot* slots() { return reinterpret_cast<Slot*>(slots_.bytes().data()); }
  const Slot* slots() const { return reinterpret_cast<const Slot*>(slots_.bytes().data()); }

  PageRoom room_;
  std::vector<PageNumber> numbers_;
  Mapping slots_;  // a Slot for each page of the VM; costs memory only where it is used
};

}  // namespace twinstep::memory
