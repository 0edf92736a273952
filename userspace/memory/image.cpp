// SPDX-License-Identifier: Apache-2.0
#include "memory/image.hpp"

#include <cstring>
#include <stdexcept>

namespace twinstep::memory {

Result<Image> Image::create(std::size_t bytes_max) {
  return Staging::create(bytes_max).map([](Staging data) { return Image(std::move(data)); });
}

Result<void> Image::apply(std::span<std::byte> ram) const {
  if (!complete_) return fail("there is no complete memory image to apply");
  if (ram.size() != header_.ram_bytes) throw std::logic_error("an image was applied to another VM's RAM");
  const std::byte* from = data_.bytes().data();
  for (const PageNumber number : data_.numbers()) {
    std::memcpy(ram.data() + std::size_t{number} * kPageBytes, from, kPageBytes);
    from += kPageBytes;
  }
  for (const PageNumber number : zero_numbers_) {
    std::memset(ram.data() + std::size_t{number} * kPageBytes, 0, kPageBytes);
  }
  return {};
}

void Image::clear() {
  complete_ = false;
  data_.clear();
  zero_numbers_.clear();
  meta_.clear();
  device_state_.clear();
}

}  // namespace twinstep::memory
