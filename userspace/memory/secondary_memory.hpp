// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <cstddef>
#include <span>

#include "core/result.hpp"
#include "memory/dirty_source.hpp"
#include "memory/image.hpp"
#include "memory/image_receiver.hpp"
#include "memory/page_bitmap.hpp"

namespace twinstep::memory {

/// The memory of one protected VM on its secondary host. Receiving may go on in a thread of its own while the SVM runs;
/// no other two calls may overlap.
class SecondaryMemory {
 public:
  /// `ram` and `source` must outlive the object. `epoch_bytes_max`: most memory that one checkpoint may carry.
  static Result<SecondaryMemory> create(std::span<std::byte> ram, DirtySource& source, std::size_t epoch_bytes_max);

  /// The SVM has never run: watches for its writes from now on.
  Result<void> start();
  /// The SVM is stopped: what it wrote since its memory was last equal to the PVM's. Pages stay in the set until
  /// apply() has overwritten them, so the set is right also after an image that was never applied.
  Result<PageBitmap> scan_dirty();
  /// Reads one image, see ImageReceiver::receive. Blocks.
  Result<Received> receive(int socket, std::chrono::milliseconds first_timeout,
                           std::chrono::milliseconds stall_timeout);
  /// The latest checkpoint received.
  const Image& image() const { return image_; }
  /// Writes the received checkpoint into the SVM's RAM. The SVM is stopped, and loads image().device_state()
  /// afterwards.
  Result<void> apply();

 private:
  SecondaryMemory(std::span<std::byte> ram, DirtySource& source, ImageReceiver receiver, Image image);

  std::span<std::byte> ram_;
  DirtySource* source_;
  ImageReceiver receiver_;
  Image image_;
  PageBitmap dirty_;
};

}  // namespace twinstep::memory
