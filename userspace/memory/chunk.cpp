// SPDX-License-Identifier: Apache-2.0
#include "memory/chunk.hpp"

#include <cstring>

#include "memory/image_format.hpp"

namespace twinstep::memory {
namespace {

bool is_zero(std::span<const std::byte> page) {
  // All zeros if the first byte is zero and each byte equals its neighbour.
  return page.front() == std::byte{0} && std::memcmp(page.data(), page.data() + 1, page.size() - 1) == 0;
}

}  // namespace

Result<Chunk> Chunk::create() {
  return Mapping::anonymous(kChunkDataPagesMax * kPageBytes).map([](Mapping copies) {
    return Chunk(std::move(copies));
  });
}

void Chunk::clear() {
  copied_pages_ = 0;
  data_numbers_.clear();
  zero_numbers_.clear();
  runs_.clear();
}

bool Chunk::has_room_for(std::size_t count) const {
  return data_numbers_.size() + count <= kChunkDataPagesMax && pages() + count <= kChunkPagesMax;
}

void Chunk::add(PageNumber number, std::span<const std::byte> page) {
  if (is_zero(page)) return add_zeros(number);
  data_numbers_.push_back(number);
  if (!runs_.empty() && runs_.back().data() + runs_.back().size() == page.data()) {
    runs_.back() = std::span(runs_.back().data(), runs_.back().size() + page.size());
  } else {
    runs_.push_back(page);
  }
}

void Chunk::add_copy(PageNumber number, std::span<const std::byte> page) {
  const auto copy = copies_.bytes().subspan(copied_pages_ * kPageBytes, kPageBytes);
  std::memcpy(copy.data(), page.data(), kPageBytes);
  const std::size_t before = data_numbers_.size();
  add(number, copy);
  copied_pages_ += data_numbers_.size() - before;  // a page of zeros needs no place
}

}  // namespace twinstep::memory
