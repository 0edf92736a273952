// SPDX-License-Identifier: Apache-2.0
#include "memory/image.hpp"

#include <cstring>
#include <stdexcept>

namespace twinstep::memory {

Result<Image> Image::create(std::size_t bytes_max) {
  return PageRoom::create(bytes_max).map([](PageRoom data) { return Image(std::move(data)); });
}

Result<void> Image::apply(std::span<std::byte> ram, PageBitmap& absent) const {
  if (!complete_) return fail("there is no complete memory image to apply");
  if (ram.size() != header_.ram_bytes) throw std::logic_error("an image was applied to another VM's RAM");
  for (const Piece& piece : pieces_) {
    for (std::size_t i = 0; i < piece.data_numbers.size(); ++i) {
      write_page(ram, absent, piece.data_numbers[i], data_.page(piece.first_place + i));
    }
    for (const PageNumber number : piece.zero_numbers) write_zero_page(ram, absent, number);
  }
  return {};
}

void Image::clear() {
  complete_ = false;
  data_.clear();
  pieces_.clear();
  zero_pages_ = 0;
  meta_.clear();
  device_state_.clear();
  page_checksums_ = {};
}

void write_page(std::span<std::byte> ram, PageBitmap& absent, PageNumber number, std::span<const std::byte> content) {
  std::memcpy(ram.data() + std::size_t{number} * kPageBytes, content.data(), kPageBytes);
  absent.reset(number);
}

void write_zero_page(std::span<std::byte> ram, const PageBitmap& absent, PageNumber number) {
  if (!absent.test(number)) std::memset(ram.data() + std::size_t{number} * kPageBytes, 0, kPageBytes);
}

}  // namespace twinstep::memory
