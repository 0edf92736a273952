// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <span>
#include <utility>

#include "core/result.hpp"
#include "memory/chunk.hpp"
#include "memory/mapping.hpp"

namespace twinstep::memory {

/// Compresses the pages of chunks as LZ4 blocks.
class Packer {
 public:
  static Result<Packer> create();
  /// The chunk's data pages, compressed into `to`; nothing if they don't become smaller than `to`.
  std::span<const std::byte> pack(const Chunk& chunk, std::span<std::byte> to);

 private:
  explicit Packer(Mapping gathered) : gathered_(std::move(gathered)) {}
  std::span<const std::byte> in_one_piece(const Chunk& chunk);

  Mapping gathered_;
};

/// The reverse. `pages` must become full exactly, or it is an Error; nothing outside of it is written, whatever
/// `packed` is.
Result<void> unpack(std::span<const std::byte> packed, std::span<std::byte> pages);

}  // namespace twinstep::memory
