// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/uio.h>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "core/result.hpp"
#include "memory/checksum.hpp"
#include "memory/image_format.hpp"
#include "memory/ring_sender.hpp"

namespace twinstep::memory {

/// Writes memory images to the page stream (image_format.hpp): begin, any number of add, finish. Blocks its caller;
/// bounded by a stall timeout, ended early by ::shutdown of the socket. After an Error the stream is of no more use.
class ImageSender {
 public:
  /// `socket`: connected, of stream type; stays the caller's, as does closing it after the sender is gone.
  static Result<ImageSender> create(int socket, std::chrono::milliseconds stall_timeout);

  /// Starts an image. The caller fills in all but magic, version and checksum; `pages` must be what will be added.
  Result<void> begin(ImageHeader header);
  /// Sends pages: their numbers, and their content in the same order, which must not change meanwhile. Pages of zeros
  /// travel as their number only.
  Result<void> add(std::span<const PageNumber> numbers, std::span<const std::byte> content);
  /// Ends the image. Sizes as given to begin().
  Result<void> finish(std::span<const std::byte> meta, std::span<const std::byte> device_state);

  /// Bytes sent for the current or latest image.
  std::uint64_t bytes_sent() const { return bytes_sent_; }

 private:
  explicit ImageSender(RingSender ring) : ring_(std::move(ring)) {}

  Result<void> send_chunk();
  Result<void> send(std::span<const std::span<const std::byte>> pieces);

  RingSender ring_;
  ImageHeader header_;
  Checksum content_;
  std::uint32_t chunks_ = 0;
  std::uint64_t pages_ = 0;
  std::uint64_t bytes_sent_ = 0;

  // The chunk in the making.
  std::vector<PageNumber> data_numbers_;
  std::vector<PageNumber> zero_numbers_;
  std::vector<std::span<const std::byte>> runs_;
  Checksum body_;
  std::vector<iovec> pieces_;
};

}  // namespace twinstep::memory
