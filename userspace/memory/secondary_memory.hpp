// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <cstddef>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <unordered_map>
#include <vector>

#include "core/result.hpp"
#include "memory/dirty_source.hpp"
#include "memory/image.hpp"
#include "memory/image_receiver.hpp"
#include "memory/page_bitmap.hpp"
#include "memory/page_hash.hpp"

namespace twinstep::memory {

/// Tells which pages of a VM's RAM have memory; all others are zeros.
using PresentPages = std::function<Result<PageBitmap>()>;

/// The memory of one protected VM on its secondary host. A checkpoint goes scan_dirty(), receive(), apply(), the device
/// state's load, finish(). Receiving may go on in a thread of its own while the SVM runs; no other two calls may
/// overlap.
class SecondaryMemory {
 public:
  /// `ram` and `source` must outlive the object. `epoch_bytes_max`: most memory that one checkpoint may carry. `key`:
  /// of the page hashes.
  static Result<SecondaryMemory> create(std::span<std::byte> ram, DirtySource& source, PresentPages present,
                                        std::size_t epoch_bytes_max, PageHashKey key);

  /// The SVM has never run: watches for its writes from now on.
  Result<void> start();
  /// The SVM is stopped: what it wrote since its memory was last equal to the PVM's. Pages stay in the set until
  /// apply() has overwritten them, so the set is right also after an image that was never applied.
  Result<SvmPages> scan_dirty();
  /// The sockets on which images come from now on; they stay the caller's.
  Result<void> receive_from(std::span<const int> sockets);
  /// Reads one image, see ImageReceiver::receive. Blocks.
  Result<Received> receive(std::chrono::milliseconds first_timeout, std::chrono::milliseconds stall_timeout);
  /// The latest checkpoint received, until finish().
  const Image& image() const { return *image_; }
  /// Writes the received checkpoint into the SVM's RAM. The SVM is stopped, and loads image().device_state()
  /// afterwards.
  Result<void> apply();
  /// The device state is loaded, the SVM still stopped. Undoes what the load wrote into the RAM (KVM writes the wall
  /// clock anew), compares the RAM with the image's page checksums if it has them, and forgets the image. An Error: the
  /// RAM is not the PVM's. Returns whether it was compared.
  Result<bool> finish();

 private:
  SecondaryMemory(std::span<std::byte> ram, DirtySource& source, PresentPages present, PageHashKey key,
                  std::unique_ptr<PageBitmap> absent, Image image);
  void save_load_pages();
  Result<PageBitmap> undo_load();

  std::span<std::byte> ram_;
  DirtySource* source_;
  PresentPages present_;
  PageHashKey key_;
  std::unique_ptr<PageBitmap> absent_;  // pages without memory; the receiver knows its address
  std::optional<ImageReceiver> receiver_;
  std::unique_ptr<Image> image_;
  PageBitmap dirty_;
  /// Pages that a device state's load was seen to write, and what they were before the latest load.
  std::unordered_map<PageNumber, std::vector<std::byte>> load_pages_;
};

}  // namespace twinstep::memory
