// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <bitset>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <vector>

#include "core/result.hpp"
#include "io/unique_fd.hpp"
#include "io/xsk/chunk_pool.hpp"

namespace twinstep::io {

/// The packet memory of a host: what its AF_XDP sockets share (kernel: networking/af_xdp.rst), so that a frame received
/// on one device is sent on another without a copy. Equal chunks, dealt out in pools.
/// The kernel lets a socket share the memory of a bound one only. So the memory has a socket of its own, bound to the
/// loopback device, which is always there; it carries nothing.
class Umem {
 public:
  static constexpr std::uint32_t kChunkBytes = 4096;
  static constexpr std::uint32_t kRingEntries = 2048;  ///< of each ring of each socket
  /// Where a frame that user space writes begins: room in front of it for a longer header.
  static constexpr std::uint32_t kHeadroomBytes = 256;
  /// XDP_USE_SG, which <linux/if_xdp.h> of Debian 12 doesn't know yet: a frame may lie in several chunks.
  static constexpr std::uint16_t kUseSg = 1 << 4;

  /// Registers memory for one pool of each size, in chunks. fragments: a frame may lie in several chunks (Linux 6.6 or
  /// newer).
  static Result<std::unique_ptr<Umem>> create(std::span<const std::uint32_t> pools, bool fragments = false);
  ~Umem();
  Umem(const Umem&) = delete;
  Umem& operator=(const Umem&) = delete;

  /// number: as in create().
  ChunkPool& pool(std::size_t number) { return *pools_.at(number); }
  ChunkPool& pool_of(std::uint64_t address) { return *pools_.at(owners_.at(address / kChunkBytes)); }
  std::span<std::byte> bytes(std::uint64_t address, std::size_t length) { return {area_ + address, length}; }
  /// Of a frame in several chunks: what lies in one of them, and where the next part is.
  struct Part {
    std::uint64_t next = 0;  ///< address; 0: it is the last
    std::uint32_t bytes = 0;
  };
  bool fragments() const { return !parts_.empty(); }
  /// The part that begins at the address. Only with fragments(); it is the chunk's owner's.
  Part& part(std::uint64_t address) { return parts_.at(address / kChunkBytes); }

  /// Registers the memory with one more socket, for a queue of a device that itself reads and writes it. What shares a
  /// registration must work alike; what has one of its own must not.
  Result<void> register_with(int socket_fd) const;

  /// The socket that others share the memory with.
  int fd() const { return socket_.get(); }

  /// A number for a device's queue, 1 to 255; nothing if all are taken. Any thread, as is the next.
  std::optional<std::uint8_t> new_queue_id();
  /// Whether the queue has chunks that it has not sent.
  bool lends_to(std::uint8_t id) const;
  /// The queue is gone: what is lent to it is free again.
  void end_queue(std::uint8_t id);

 private:
  Umem() = default;
  Result<void> map_and_register(std::size_t chunks);
  Result<void> bind(bool fragments);

  std::byte* area_ = nullptr;
  std::size_t area_bytes_ = 0;
  UniqueFd socket_;
  std::vector<std::unique_ptr<ChunkPool>> pools_;
  std::vector<std::uint16_t> owners_;  // by chunk
  std::vector<Part> parts_;            // likewise; empty without fragments
  std::mutex mutex_;
  std::bitset<256> queue_ids_;  // taken; under mutex_
};

}  // namespace twinstep::io
