// SPDX-License-Identifier: Apache-2.0
#include "memory/image_format.hpp"

#include <xxh_x86dispatch.h>

#include <cstring>
#include <string>

namespace twinstep::memory {
namespace {

constexpr const char* kDamaged = "the memory image was damaged on the page stream: ";

}  // namespace

std::uint64_t checksum_of(std::span<const std::byte> bytes) {
  return XXH3_64bits(bytes.data(), bytes.size());
}

Result<void> verify(const ImageHeader& header, std::uint64_t ram_bytes) {
  if (header.magic != kImageMagic) return fail(std::string(kDamaged) + "no image starts where one must");
  if (header.version != kImageVersion) {
    return fail("the peer sends memory images of version " + std::to_string(header.version) +
                ", this host reads version " + std::to_string(kImageVersion) + ": run the same Twinstep on both hosts");
  }
  if (header.checksum != header_checksum(header)) return fail(std::string(kDamaged) + "checksum of the header");
  if (header.kind != ImageKind::live_round && header.kind != ImageKind::checkpoint && header.kind != ImageKind::ahead) {
    return fail("the peer sent a memory image of unknown kind " + std::to_string(static_cast<int>(header.kind)));
  }
  if (header.ram_bytes != ram_bytes || header.page_bytes != kPageBytes) {
    return fail("the peer's VM has " + std::to_string(header.ram_bytes) + " bytes of RAM in pages of " +
                std::to_string(header.page_bytes) + ", this host's has " + std::to_string(ram_bytes) +
                ": give both the same memory size");
  }
  if (header.verify_bytes != 0 && header.verify_bytes != ram_bytes / kPageBytes * kPageChecksumBytes) {
    return fail("the peer's memory image has checksums of another number of pages than the VM");
  }
  if (header.meta_bytes > kMetaBytesMax || header.state_bytes > kStateBytesMax) {
    return fail("the peer's memory image has " + std::to_string(header.meta_bytes) + " bytes of meta data and " +
                std::to_string(header.state_bytes) + " bytes of device state, beyond the limits");
  }
  if (header.parts == 0 || header.parts > kStreamsMax || header.part >= header.parts) {
    return fail("the peer's memory image has part " + std::to_string(header.part) + " of " +
                std::to_string(header.parts));
  }
  return {};
}

Result<void> verify_part(const ImageHeader& header, const ImageHeader& first, std::size_t part) {
  ImageHeader expected = first;
  expected.part = static_cast<std::uint8_t>(part);
  if (part > 0) expected.meta_bytes = expected.state_bytes = 0;
  if (part > 0) expected.verify_bytes = 0;
  expected.checksum = header.checksum;
  if (std::memcmp(&header, &expected, sizeof(header)) != 0) {
    return fail("the peer sent part " + std::to_string(header.part) + " of memory image " +
                std::to_string(header.sequence) + " where part " + std::to_string(part) + " of image " +
                std::to_string(first.sequence) + " was due");
  }
  return {};
}

Result<void> verify(const ChunkHeader& header, std::uint32_t expected_index) {
  if (header.magic != kChunkMagic || header.checksum != header_checksum(header)) {
    return fail(std::string(kDamaged) + "header of chunk " + std::to_string(expected_index));
  }
  const std::size_t pages = std::size_t{header.data_pages} + header.zero_pages;
  if (header.index != expected_index || header.data_pages > kChunkDataPagesMax || pages > kChunkPagesMax) {
    return fail("the peer sent chunk " + std::to_string(header.index) + " of " + std::to_string(pages) +
                " pages where chunk " + std::to_string(expected_index) + " was due");
  }
  const bool packed =
      header.codec == PageCodec::lz4 && header.packed_bytes > 0 && header.packed_bytes < header.data_pages * kPageBytes;
  const bool plain = header.codec == PageCodec::none && header.packed_bytes == 0;
  if (!packed && !plain) {
    return fail("the peer sent a chunk of " + std::to_string(header.data_pages) + " pages as " +
                std::to_string(header.packed_bytes) + " bytes by codec " +
                std::to_string(static_cast<std::uint32_t>(header.codec)) + ", which this host can't read");
  }
  return {};
}

Result<void> verify(const ImageTrailer& trailer, const ImageHeader& header, std::uint64_t pages, std::uint64_t chunks,
                    std::uint64_t content_checksum) {
  if (trailer.magic != kTrailerMagic || trailer.checksum != header_checksum(trailer)) {
    return fail(std::string(kDamaged) + "trailer");
  }
  if (trailer.content_checksum != content_checksum) return fail(std::string(kDamaged) + "checksum of the whole");
  if (trailer.epoch != header.epoch || trailer.generation != header.generation || trailer.pages != pages ||
      trailer.chunks != chunks) {
    return fail("the memory image ends with the trailer of another image");
  }
  return {};
}

}  // namespace twinstep::memory
