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

/// What follows an image's pages.
struct ImageTail {
  std::span<const std::byte> meta;
  std::span<const std::byte> device_state;
  std::span<const std::uint64_t> page_checksums;  ///< of all pages of the VM, or none
};

/// Writes memory images to the page stream (image_format.hpp): begin, any number of add, finish. Blocks its caller;
/// bounded by a stall timeout, ended early by ::shutdown of the socket. After an Error the stream is of no more use.
class ImageSender {
 public:
  /// `socket`: connected, of stream type; stays the caller's, as does closing it after the sender is gone.
  static Result<ImageSender> create(int socket, std::chrono::milliseconds stall_timeout);

  /// Sends no more than this from now on; 0: as fast as the link takes it. An Error if this system can't.
  Result<void> limit_rate(std::uint64_t bytes_per_s);
  /// Starts an image. The caller fills in kind, generation, epoch and the RAM's size; the tail must be what finish()
  /// will get.
  Result<void> begin(ImageHeader header, const ImageTail& tail);
  /// Sends a page, sooner or later: until flush() or finish() its content must stay as it is. A page of zeros travels
  /// as its number only.
  Result<void> add(PageNumber number, std::span<const std::byte> page);
  /// Sends what add() has kept.
  Result<void> flush();
  /// Ends the image.
  Result<void> finish(const ImageTail& tail);

  /// Bytes and pages sent for the current or latest image.
  std::uint64_t bytes_sent() const { return bytes_sent_; }
  std::uint64_t pages_sent() const { return pages_; }

 private:
  ImageSender(int socket, RingSender ring) : socket_(socket), ring_(std::move(ring)) {}

  Result<void> send_chunk();
  Result<void> send(std::span<const std::span<const std::byte>> pieces);

  int socket_;
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
