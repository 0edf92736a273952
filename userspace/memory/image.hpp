// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "core/result.hpp"
#include "memory/image_format.hpp"
#include "memory/page_bitmap.hpp"
#include "memory/page_room.hpp"

namespace twinstep::memory {

/// A checkpoint as received, with the pages that were sent ahead of it. Whole or nothing: until an ImageReceiver has
/// verified all of it, complete() is false and apply() refuses.
class Image {
 public:
  /// `bytes_max`: limit of the pages' content (zero pages don't count).
  static Result<Image> create(std::size_t bytes_max);

  bool complete() const { return complete_; }
  /// Valid while complete().
  std::uint64_t generation() const { return header_.generation; }
  std::uint32_t epoch() const { return header_.epoch; }
  std::span<const std::byte> meta() const { return meta_; }
  std::span<const std::byte> device_state() const { return device_state_; }
  /// Checksums of all the VM's pages as they are when the image is applied; none: not sent.
  std::span<const std::uint64_t> page_checksums() const { return page_checksums_; }
  std::size_t pages() const { return data_.size() + zero_pages_; }

  /// Writes the pages into `ram`, which must be stopped, and takes them out of `absent`, the pages that are zeros
  /// without memory. An Error, with nothing written, if the image isn't complete.
  Result<void> apply(std::span<std::byte> ram, PageBitmap& absent) const;
  /// Forgets the content.
  void clear();

 private:
  friend class ImageReceiver;
  friend class PartReader;

  /// The pages of one chunk. Chunks are in the order in which they came, so that a page of a later image overrules an
  /// earlier one of its number; within an image each page comes once, and the order of its parts' chunks is nothing.
  struct Piece {
    std::size_t first_place = 0;  // of the data pages, in data_
    std::vector<PageNumber> data_numbers;
    std::vector<PageNumber> zero_numbers;
  };

  explicit Image(PageRoom data) : data_(std::move(data)) {}

  bool complete_ = false;
  ImageHeader header_;
  PageRoom data_;
  std::vector<Piece> pieces_;
  std::size_t zero_pages_ = 0;
  std::vector<std::byte> meta_;
  std::vector<std::byte> device_state_;
  std::vector<std::uint64_t> page_checksums_;
};

/// Writes one page into a VM's RAM. absent: pages that are zeros because nobody has used them; a page of zeros is not
/// written there, as that would cost memory.
void write_page(std::span<std::byte> ram, PageBitmap& absent, PageNumber number, std::span<const std::byte> content);
void write_zero_page(std::span<std::byte> ram, const PageBitmap& absent, PageNumber number);

}  // namespace twinstep::memory
