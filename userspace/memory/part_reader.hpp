// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <span>
#include <vector>

#include "core/result.hpp"
#include "memory/checksum.hpp"
#include "memory/image.hpp"
#include "memory/image_format.hpp"
#include "memory/mapping.hpp"
#include "memory/page_bitmap.hpp"
#include "memory/socket_reader.hpp"

namespace twinstep::memory {

/// Where the parts of an image go. Several readers share it.
struct PartTarget {
  std::span<std::byte> ram;
  PageBitmap* absent = nullptr;  ///< of live rounds: guarded by `mutex`
  Image* image = nullptr;        ///< of checkpoints: guarded by `mutex`, but for the places that a reader has taken
  std::mutex mutex;
};

/// Reads the part of an image that is on one stream.
class PartReader {
 public:
  static Result<PartReader> create(int socket);

  Result<void> wait(std::chrono::milliseconds timeout) const { return reader_.wait(timeout); }
  /// Reads the header of a part of an image of a VM with so much RAM.
  Result<ImageHeader> read_header(std::uint64_t ram_bytes, std::chrono::milliseconds stall_timeout);
  /// Reads the rest of the part and verifies it. Returns how many pages it had.
  Result<std::uint64_t> read(const ImageHeader& header, PartTarget& target);

 private:
  PartReader(int socket, Mapping live_pages, Mapping packed)
      : reader_(socket), live_pages_(std::move(live_pages)), packed_(std::move(packed)) {}

  Result<void> read_chunk(const ImageHeader& header, const ChunkHeader& chunk, PartTarget& target);
  Result<void> read_live_chunk(const ChunkHeader& chunk, PartTarget& target);
  Result<void> read_kept_chunk(const ChunkHeader& chunk, PartTarget& target);
  Result<void> read_body(const ChunkHeader& chunk, std::span<std::byte> data, std::size_t ram_pages);
  Result<void> read_tail(const ImageHeader& header, Image& image);
  Result<void> read_blob(std::span<std::byte> to);
  Result<void> read_bytes(std::span<std::byte> to) const { return reader_.read(to, stall_timeout_); }

  SocketReader reader_;
  Mapping live_pages_;  // of one chunk
  Mapping packed_;      // of one chunk whose pages come compressed
  std::chrono::milliseconds stall_timeout_{};
  std::vector<PageNumber> numbers_;
  Checksum content_;
  Checksum body_;
};

}  // namespace twinstep::memory
