// SPDX-License-Identifier: Apache-2.0
#include "memory/page_room.hpp"

#include <algorithm>
#include <string>

namespace twinstep::memory {
namespace {

/// Kept in any case: what small epochs need.
constexpr std::size_t kKeptPagesMin = 4096;

}  // namespace

Result<PageRoom> PageRoom::create(std::size_t bytes_max) {
  if (bytes_max < kPageBytes)
    return fail("epoch_bytes_max must be at least one page, " + std::to_string(kPageBytes) + " bytes");
  return Mapping::anonymous(bytes_max / kPageBytes * kPageBytes).map([](Mapping memory) {
    return PageRoom(std::move(memory));
  });
}

Result<std::size_t> PageRoom::take(std::size_t count) {
  if (count > pages_max() - size()) {
    return fail("an epoch of " + std::to_string((size() + count) * kPageBytes) +
                " bytes of changed memory is beyond the limit of " + std::to_string(pages_max() * kPageBytes) +
                ": raise epoch_bytes_max or shorten the epochs");
  }
  used_pages_ += count;
  touched_pages_ = std::max(touched_pages_, used_pages_);
  return used_pages_ - count;
}

void PageRoom::clear() {
  const std::size_t kept = std::max(used_pages_, kKeptPagesMin);
  if (touched_pages_ > kept) {
    memory_.give_back(kept * kPageBytes, (touched_pages_ - kept) * kPageBytes);
    touched_pages_ = kept;
  }
  used_pages_ = 0;
}

}  // namespace twinstep::memory
