// SPDX-License-Identifier: Apache-2.0
#include "memory/staging.hpp"

#include <cstring>
#include <string>

namespace twinstep::memory {
namespace {

void copy_pages(std::span<const std::byte> ram, std::span<const PageNumber> numbers, std::byte* to) {
  for (const PageNumber number : numbers) {
    std::memcpy(to, ram.data() + std::size_t{number} * kPageBytes, kPageBytes);
    to += kPageBytes;
  }
}

}  // namespace

Result<Staging> Staging::create(std::size_t bytes_max) {
  if (bytes_max < kPageBytes)
    return fail("epoch_bytes_max must be at least one page, " + std::to_string(kPageBytes) + " bytes");
  return Mapping::anonymous(bytes_max / kPageBytes * kPageBytes).map([](Mapping memory) {
    return Staging(std::move(memory));
  });
}

Result<void> Staging::copy(std::span<const std::byte> ram, const PageBitmap& pages) {
  clear();
  const std::size_t count = pages.count();
  auto room = reserve(count);
  if (!room) return tl::unexpected(room.error());
  numbers_.reserve(count);
  pages.for_each([&](PageNumber number) { numbers_.push_back(number); });
  copy_pages(ram, numbers_, room->data());
  return {};
}

Result<void> Staging::append(std::span<const std::byte> ram, std::span<const PageNumber> numbers) {
  auto room = reserve(numbers.size());
  if (!room) return tl::unexpected(room.error());
  copy_pages(ram, numbers, room->data());
  commit(numbers);
  return {};
}

Result<std::span<std::byte>> Staging::reserve(std::size_t count) {
  if (count > pages_max() - size()) {
    return fail("an epoch of " + std::to_string((size() + count) * kPageBytes) +
                " bytes of changed memory is beyond the limit of " + std::to_string(pages_max() * kPageBytes) +
                ": raise epoch_bytes_max or shorten the epochs");
  }
  return memory_.bytes().subspan(size() * kPageBytes, count * kPageBytes);
}

void Staging::commit(std::span<const PageNumber> numbers) {
  numbers_.insert(numbers_.end(), numbers.begin(), numbers.end());
}

}  // namespace twinstep::memory
