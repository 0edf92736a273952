// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "core/result.hpp"
#include "memory/image.hpp"
#include "memory/image_format.hpp"
#include "memory/page_bitmap.hpp"
#include "memory/part_reader.hpp"

namespace twinstep::memory {

/// What came on the page streams.
struct Received {
  ImageKind kind = ImageKind::live_round;
  std::uint64_t generation = 0;
  std::uint32_t epoch = 0;
  std::uint64_t pages = 0;
};

/// Reads memory images from one or more page streams (image_format.hpp).
class ImageReceiver {
 public:
  /// `ram`: the VM's RAM. `absent`: its pages that are zeros because nobody has used them, kept up to date. Both must
  /// outlive the receiver. `sockets`: 1..kStreamsMax, connected; they stay the caller's.
  static Result<ImageReceiver> create(std::span<std::byte> ram, PageBitmap& absent, std::span<const int> sockets);

  /// Waits up to `first_timeout` for an image and reads all its parts; within a part no pause may be longer than
  /// `stall_timeout`. A live round's pages are written into the RAM chunk by chunk, each after its checksum was
  /// verified: the VM must never have run. Pages sent ahead are added to `image`, as is the checkpoint that follows
  /// them: then `image` is complete(). After an Error `image` is empty, the RAM has whole pages of live rounds at most,
  /// and the sockets are shut down: the streams are of no more use.
  Result<Received> receive(Image& image, std::chrono::milliseconds first_timeout,
                           std::chrono::milliseconds stall_timeout);

 private:
  ImageReceiver(std::span<std::byte> ram, PageBitmap& absent, std::span<const int> sockets,
                std::vector<PartReader> readers)
      : ram_(ram), absent_(&absent), sockets_(sockets.begin(), sockets.end()), readers_(std::move(readers)) {}

  Result<ImageHeader> wait_for_image(std::chrono::milliseconds first_timeout, std::chrono::milliseconds stall_timeout);
  Result<Received> receive_parts(const ImageHeader& first, Image& image, std::chrono::milliseconds stall_timeout);
  void end_streams() const;

  std::span<std::byte> ram_;
  PageBitmap* absent_;
  std::vector<int> sockets_;
  std::vector<PartReader> readers_;  // one for each socket
  std::uint32_t sequence_ = 0;       // of the next image
};

}  // namespace twinstep::memory
