// SPDX-License-Identifier: Apache-2.0
#include "memory/packer.hpp"

#include <lz4.h>

#include <cstring>

#include "memory/image_format.hpp"

namespace twinstep::memory {
namespace {

const char* chars(std::span<const std::byte> bytes) {
  return reinterpret_cast<const char*>(bytes.data());
}
char* chars(std::span<std::byte> bytes) {
  return reinterpret_cast<char*>(bytes.data());
}

}  // namespace

Result<Packer> Packer::create() {
  return Mapping::anonymous(kChunkDataPagesMax * kPageBytes).map([](Mapping gathered) {
    return Packer(std::move(gathered));
  });
}

std::span<const std::byte> Packer::in_one_piece(const Chunk& chunk) {
  if (chunk.runs().size() == 1) return chunk.runs().front();
  std::size_t bytes = 0;
  for (const auto run : chunk.runs()) {
    std::memcpy(gathered_.bytes().data() + bytes, run.data(), run.size());
    bytes += run.size();
  }
  return gathered_.bytes().first(bytes);
}

std::span<const std::byte> Packer::pack(const Chunk& chunk, std::span<std::byte> to) {
  const auto pages = in_one_piece(chunk);
  const int packed =
      LZ4_compress_default(chars(pages), chars(to), static_cast<int>(pages.size()), static_cast<int>(to.size()));
  return to.first(static_cast<std::size_t>(packed));
}

Result<void> unpack(std::span<const std::byte> packed, std::span<std::byte> pages) {
  const int got =
      LZ4_decompress_safe(chars(packed), chars(pages), static_cast<int>(packed.size()), static_cast<int>(pages.size()));
  if (got < 0 || static_cast<std::size_t>(got) != pages.size())
    return fail("the peer's memory image has pages that can't be decompressed");
  return {};
}

}  // namespace twinstep::memory
