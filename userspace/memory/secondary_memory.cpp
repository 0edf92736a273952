// SPDX-License-Identifier: Apache-2.0
#include "memory/secondary_memory.hpp"

#include <utility>

namespace twinstep::memory {

SecondaryMemory::SecondaryMemory(std::span<std::byte> ram, DirtySource& source, ImageReceiver receiver, Image image)
    : ram_(ram),
      source_(&source),
      receiver_(std::move(receiver)),
      image_(std::move(image)),
      dirty_(ram.size() / kPageBytes) {}

Result<SecondaryMemory> SecondaryMemory::create(std::span<std::byte> ram, DirtySource& source,
                                                std::size_t epoch_bytes_max) {
  auto receiver = ImageReceiver::create(ram);
  if (!receiver) return tl::unexpected(receiver.error());
  return Image::create(epoch_bytes_max).map([&](Image image) {
    return SecondaryMemory(ram, source, std::move(*receiver), std::move(image));
  });
}

Result<void> SecondaryMemory::start() {
  dirty_.clear();
  return source_->arm();
}

Result<PageBitmap> SecondaryMemory::scan_dirty() {
  if (auto scanned = source_->scan(dirty_); !scanned) return tl::unexpected(scanned.error());
  return dirty_;
}

Result<Received> SecondaryMemory::receive(int socket, std::chrono::milliseconds first_timeout,
                                          std::chrono::milliseconds stall_timeout) {
  return receiver_.receive(SocketReader(socket), image_, first_timeout, stall_timeout);
}

Result<void> SecondaryMemory::apply() {
  auto applied = image_.apply(ram_);
  // Pages that the device state's load writes are found by the next scan.
  if (applied) dirty_.clear();
  return applied;
}

}  // namespace twinstep::memory
