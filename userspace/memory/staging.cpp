// SPDX-License-Identifier: Apache-2.0
#include "memory/staging.hpp"

#include <algorithm>
#include <cstring>
#include <string>

namespace twinstep::memory {
namespace {

/// Kept in any case: what small epochs need.
constexpr std::size_t kKeptPagesMin = 4096;

}  // namespace

Result<Staging> Staging::create(std::size_t bytes_max) {
  if (bytes_max < kPageBytes)
    return fail("epoch_bytes_max must be at least one page, " + std::to_string(kPageBytes) + " bytes");
  return Mapping::anonymous(bytes_max / kPageBytes * kPageBytes).map([](Mapping memory) {
    return Staging(std::move(memory));
  });
}

void Staging::clear() {
  const std::size_t kept = std::max(size(), kKeptPagesMin);
  if (touched_pages_ > kept) {
    memory_.give_back(kept * kPageBytes, (touched_pages_ - kept) * kPageBytes);
    touched_pages_ = kept;
    numbers_.shrink_to_fit();
  }
  numbers_.clear();
}

Result<void> Staging::append(std::span<const std::byte> ram, PageNumber number) {
  auto room = reserve(1);
  if (!room) return tl::unexpected(room.error());
  std::memcpy(room->data(), ram.data() + std::size_t{number} * kPageBytes, kPageBytes);
  numbers_.push_back(number);
  return {};
}

void Staging::replace(std::span<const std::byte> ram, std::size_t index) {
  std::memcpy(memory_.bytes().data() + index * kPageBytes, ram.data() + std::size_t{numbers_[index]} * kPageBytes,
              kPageBytes);
}

Result<std::span<std::byte>> Staging::reserve(std::size_t count) {
  if (count > pages_max() - size()) {
    return fail("an epoch of " + std::to_string((size() + count) * kPageBytes) +
                " bytes of changed memory is beyond the limit of " + std::to_string(pages_max() * kPageBytes) +
                ": raise epoch_bytes_max or shorten the epochs");
  }
  touched_pages_ = std::max(touched_pages_, size() + count);
  return memory_.bytes().subspan(size() * kPageBytes, count * kPageBytes);
}

void Staging::commit(std::span<const PageNumber> numbers) {
  numbers_.insert(numbers_.end(), numbers.begin(), numbers.end());
}

}  // namespace twinstep::memory
