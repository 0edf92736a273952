// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "core/result.hpp"
#include "memory/checksum.hpp"
#include "memory/image.hpp"
#include "memory/image_format.hpp"
#include "memory/socket_reader.hpp"
#include "memory/staging.hpp"

namespace twinstep::memory {

/// What came on the page stream.
struct Received {
  ImageKind kind = ImageKind::live_round;
  std::uint64_t generation = 0;
  std::uint32_t epoch = 0;
  std::uint64_t pages = 0;
};

/// Reads memory images from the page stream (image_format.hpp).
class ImageReceiver {
 public:
  /// `ram`: the VM's RAM. `absent`: its pages that are zeros because nobody has used them, kept up to date. Both must
  /// outlive the receiver.
  static Result<ImageReceiver> create(std::span<std::byte> ram, PageBitmap& absent);

  /// Waits up to `first_timeout` for an image and reads it; within the image no pause may be longer than
  /// `stall_timeout`. A live round's pages are written into the RAM chunk by chunk, each after its checksum was
  /// verified: the VM must never have run. Pages sent ahead are added to `image`, as is the checkpoint that follows
  /// them: then `image` is complete(). After an Error `image` is empty, the RAM has whole pages of live rounds at most,
  /// and the stream is of no more use.
  Result<Received> receive(SocketReader reader, Image& image, std::chrono::milliseconds first_timeout,
                           std::chrono::milliseconds stall_timeout);

 private:
  /// One reading of one image.
  struct Reading {
    SocketReader reader;
    std::chrono::milliseconds stall_timeout;
    ImageHeader header;
  };

  ImageReceiver(std::span<std::byte> ram, PageBitmap& absent, Staging chunk)
      : ram_(ram), absent_(&absent), chunk_(std::move(chunk)) {}

  Result<Received> receive_image(Reading& reading, Image& image);
  Result<void> read_tail(const Reading& reading, Image& image);
  Result<void> receive_live_chunk(const Reading& reading, const ChunkHeader& header);
  Result<void> receive_checkpoint_chunk(const Reading& reading, const ChunkHeader& header, Image& image);
  Result<void> read_body(const Reading& reading, const ChunkHeader& header, std::span<std::byte> data);
  Result<void> read_blob(const Reading& reading, std::span<std::byte> to);

  std::span<std::byte> ram_;
  PageBitmap* absent_;
  Staging chunk_;  // of a live round
  std::vector<PageNumber> numbers_;
  Checksum content_;
  Checksum body_;
};

}  // namespace twinstep::memory
