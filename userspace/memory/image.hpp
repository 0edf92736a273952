// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "core/result.hpp"
#include "memory/image_format.hpp"
#include "memory/staging.hpp"

namespace twinstep::memory {

/// A checkpoint as received. Whole or nothing: until an ImageReceiver has verified all of it, complete() is false and
/// apply() refuses. Its buffers are kept for the next image.
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
  std::size_t pages() const { return data_.size() + zero_numbers_.size(); }

  /// Writes the pages into `ram`, which must be stopped. An Error, with nothing written, if the image isn't complete.
  Result<void> apply(std::span<std::byte> ram) const;

 private:
  friend class ImageReceiver;

  explicit Image(Staging data) : data_(std::move(data)) {}
  void clear();

  bool complete_ = false;
  ImageHeader header_;
  Staging data_;
  std::vector<PageNumber> zero_numbers_;
  std::vector<std::byte> meta_;
  std::vector<std::byte> device_state_;
};

}  // namespace twinstep::memory
