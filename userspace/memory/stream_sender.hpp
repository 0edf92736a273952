// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/uio.h>

#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "core/checkpoint/pack_rule.hpp"
#include "core/result.hpp"
#include "memory/checksum.hpp"
#include "memory/chunk.hpp"
#include "memory/image_format.hpp"
#include "memory/mapping.hpp"
#include "memory/packer.hpp"
#include "memory/ring_sender.hpp"

namespace twinstep::memory {

/// What follows an image's pages.
struct ImageTail {
  std::span<const std::byte> meta;
  std::span<const std::byte> device_state;
  std::span<const std::uint64_t> page_checksums;  ///< of all pages of the VM, or none
};

/// Writes parts of memory images to one stream. Blocks its caller; bounded by a stall timeout, ended early by
/// ::shutdown of the socket. After an Error the stream is of no more use.
class StreamSender {
 public:
  /// `socket`: connected, of stream type; stays the caller's, as does closing it after the sender is gone.
  static Result<StreamSender> create(int socket, std::chrono::milliseconds stall_timeout,
                                     const checkpoint::PackRule& rule);

  /// What all streams of an image have sent so far.
  struct Sent {
    std::atomic<std::uint64_t> pages = 0;
    std::atomic<std::uint64_t> bytes = 0;
  };
  /// Called after each chunk. An Error ends the part.
  using OnChunk = std::function<Result<void>()>;

  /// Sends no more than this from now on; 0: as fast as the link takes it. An Error if this system can't.
  Result<void> limit_rate(std::uint64_t bytes_per_s);
  /// Sends the header, what this stream gets of `feed`, and the tail, which must be as the header says. Nothing is read
  /// any more afterwards.
  Result<void> send(const ImageHeader& header, PageFeed& feed, const ImageTail& tail, Sent& sent,
                    const OnChunk& on_chunk);
  bool zero_copy() const { return ring_.zero_copy(); }
  /// Whether pages are compressed at present.
  bool packs() const { return rule_.packs(); }

 private:
  /// What the kernel may be reading from while the next chunk is made.
  struct Slot {
    Slot(Chunk empty, Mapping room) : chunk(std::move(empty)), packed(std::move(room)) {}
    Chunk chunk;
    Mapping packed;  // the chunk's pages compressed, if they were
    ChunkHeader header;
  };

  StreamSender(int socket, RingSender ring, Packer packer, const checkpoint::PackRule& rule, std::vector<Slot> slots);

  Result<void> send_chunks(PageFeed& feed, Sent& sent, const OnChunk& on_chunk);
  Result<void> send_chunk(Slot& slot, Sent& sent);
  Result<void> send_end(const ImageHeader& header, const ImageTail& tail, Sent& sent);
  void measure_link();
  std::span<const std::byte> pack(Slot& slot);
  ChunkHeader make_header(const Chunk& chunk, std::span<const std::byte> packed);
  void add_piece(std::span<const std::byte> piece);
  Result<void> flush(std::size_t slot, Sent& sent);

  int socket_;
  RingSender ring_;
  std::vector<Slot> slots_;
  Packer packer_;
  checkpoint::PackRule rule_;
  std::uint32_t chunks_to_sample_ = 0;
  std::vector<iovec> pieces_;
  std::uint64_t rate_bytes_per_s_ = 0;

  // Of the part on its way.
  Checksum content_;
  Checksum body_;
  std::uint32_t chunks_ = 0;
  std::uint64_t pages_ = 0;
};

}  // namespace twinstep::memory
