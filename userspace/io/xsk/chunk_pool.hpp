// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <optional>
#include <span>
#include <vector>

namespace twinstep::io {

class Umem;

/// Some of a Umem's chunks, which only their owner hands out: a VM's share, so that no other VM's flood can use it up,
/// or what a device receives into. An address is an offset into the Umem; any address inside a chunk names that chunk.
/// The owner is one thread, or whoever holds the lock that guards the pool; calls that others may make say so.
class ChunkPool {
 public:
  ChunkPool(Umem& umem, std::uint32_t first_chunk, std::uint32_t chunks);
  ChunkPool(const ChunkPool&) = delete;
  ChunkPool& operator=(const ChunkPool&) = delete;

  /// A free chunk's first address, or nothing: all are in use.
  std::optional<std::uint64_t> take();
  /// Returns the chunk that `address` lies in, with those of the frame's further parts; one of another pool goes to
  /// that.
  void give(std::uint64_t address);
  /// The same. Any thread.
  void give_from_afar(std::uint64_t address);
  std::size_t free_chunks() const;
  std::uint32_t chunks() const { return chunks_; }
  Umem& umem() const { return umem_; }
  bool contains(std::uint64_t address) const;
  /// The chunk's number in this pool, from 0.
  std::size_t index(std::uint64_t address) const;
  /// The bytes at an address of the Umem. They may not cross the chunk's end.
  std::span<std::byte> bytes(std::uint64_t address, std::size_t length) const;

  /// A queue of a device has the chunk until it says that the frame is sent. queue: DeviceQueue::id().
  void lend(std::uint64_t address, std::uint8_t queue);
  /// The frame is sent: the chunk is free again.
  void take_back(std::uint64_t address);
  void take_back_from_afar(std::uint64_t address);
  /// Any thread.
  bool lends_to(std::uint8_t queue) const;
  /// Takes back what is lent to a queue that is gone. Any thread.
  void forget(std::uint8_t queue);
  /// A new owner: all chunks are free, but for those that are lent.
  void reclaim();

 private:
  void give_chunk(std::uint64_t address);
  void collect();

  Umem& umem_;
  std::uint64_t first_;  // address
  std::uint32_t chunks_;
  std::vector<std::uint64_t> free_;
  std::vector<std::atomic<std::uint8_t>> lent_;  // by chunk: to which queue; 0: to none
  std::mutex mutex_;
  std::vector<std::uint64_t> returned_;  // by others than the owner; under mutex_
  std::atomic<std::size_t> returned_count_ = 0;
};

}  // namespace twinstep::io
