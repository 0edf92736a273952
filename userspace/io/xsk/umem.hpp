// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <xdp/xsk.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "core/result.hpp"

namespace twinstep::io {

/// The memory that AF_XDP sockets share (kernel: networking/af_xdp.rst): equal chunks, handed out and taken back by
/// address. An address is an offset into the memory; any address inside a chunk names that chunk. One thread.
class Umem {
 public:
  static constexpr std::uint32_t kChunkBytes = 4096;
  static constexpr std::uint32_t kRingEntries = 2048;  ///< of each ring of each socket
  /// Where a frame that user space writes begins: room in front of it for a longer header.
  static constexpr std::uint32_t kHeadroomBytes = 256;

  /// chunks: how many, at least one ring's worth.
  static Result<std::unique_ptr<Umem>> create(std::uint32_t chunks);
  ~Umem();
  Umem(const Umem&) = delete;
  Umem& operator=(const Umem&) = delete;

  /// A free chunk's first address, or nothing: all are in use.
  std::optional<std::uint64_t> take();
  /// Returns the chunk that `address` lies in.
  void give(std::uint64_t address) { free_.push_back(address & ~std::uint64_t{kChunkBytes - 1}); }
  std::size_t free_chunks() const { return free_.size(); }
  std::uint32_t chunks() const { return chunks_; }

  /// The bytes at an address. They may not cross the chunk's end.
  std::span<std::byte> bytes(std::uint64_t address, std::size_t length) { return {area_ + address, length}; }

 private:
  friend class XskSocket;
  explicit Umem(std::uint32_t chunks) : chunks_(chunks) {}

  std::uint32_t chunks_;
  std::byte* area_ = nullptr;
  xsk_umem* umem_ = nullptr;
  xsk_ring_prod fill_{};  // libxdp hands the rings made here to the first socket
  xsk_ring_cons completion_{};
  std::vector<std::uint64_t> free_;
};

}  // namespace twinstep::io
