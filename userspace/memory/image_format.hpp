// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <span>
#include <type_traits>

#include "core/result.hpp"
#include "memory/page_bitmap.hpp"

/// How memory images lie on the page streams between two hosts. Little-endian. An image has a part on each of one or
/// more streams; a small one is on the first stream alone. A part:
///
///   ImageHeader
///   ChunkHeader, numbers of data pages, numbers of zero pages, data pages      any number of times
///                (or an LZ4 block that decompresses to them, as the ChunkHeader says)
///   ChunkHeader of no pages                                                    the end of the chunks
///   meta bytes, device state bytes, page checksums                             as the ImageHeader says: first part
///   only ImageTrailer
///
/// A page is in one part only. How many pages come isn't known when the first is sent. Each header carries a checksum
/// of itself, so a wrong length is found before it is used, and each chunk one of its body. The trailer's covers all of
/// the part's chunks' checksums, meta, device state and page checksums. All are XXH3-64. The parts of an image have the
/// same header but for their number and the lengths of what only the first part has; images are numbered.
namespace twinstep::memory {

static_assert(std::endian::native == std::endian::little, "images are sent in host order, which must be little-endian");

inline constexpr std::uint16_t kImageVersion = 4;
inline constexpr std::uint32_t kImageMagic = 0x6d497354;    // "TsIm"
inline constexpr std::uint32_t kChunkMagic = 0x68437354;    // "TsCh"
inline constexpr std::uint32_t kTrailerMagic = 0x72547354;  // "TsTr"

/// Data pages in a chunk at most: 512 KiB stay in the processor's cache between copy, checksum and send.
inline constexpr std::size_t kChunkDataPagesMax = 128;
/// Data and zero pages in a chunk at most.
inline constexpr std::size_t kChunkPagesMax = 4096;
/// Streams between two hosts for one VM at most.
inline constexpr std::size_t kStreamsMax = 8;
/// Bounds of the two blobs: far above what is seen (device state: 60-220 KB), far below what would hurt.
inline constexpr std::uint32_t kMetaBytesMax = 64U << 20;
inline constexpr std::uint32_t kStateBytesMax = 64U << 20;
/// Bytes of the checksum of one page, in verify_bytes.
inline constexpr std::size_t kPageChecksumBytes = 8;

enum class ImageKind : std::uint8_t {
  live_round = 1,  ///< pages of a running VM, written into the target at once; no meta, no device state
  checkpoint = 2,  ///< what changed in an epoch, with device state; nothing is written before all of it is verified
  ahead = 3,       ///< pages of the next checkpoint, sent before it; kept with it, and overruled by its own pages
};

struct ImageHeader {
  std::uint32_t magic = kImageMagic;
  std::uint16_t version = kImageVersion;
  ImageKind kind = ImageKind::live_round;
  std::uint8_t part = 0;           ///< the stream's number
  std::uint64_t generation = 0;    ///< the arbiter's, at the sender
  std::uint64_t ram_bytes = 0;     ///< size of the VM's RAM; must be the receiver's too
  std::uint64_t verify_bytes = 0;  ///< checksums of all the VM's pages, 8 bytes each; 0: not sent
  std::uint32_t epoch = 0;         ///< 0 in a live round
  std::uint32_t page_bytes = kPageBytes;
  std::uint32_t meta_bytes = 0;
  std::uint32_t state_bytes = 0;
  std::uint32_t parts = 1;     ///< 1..kStreamsMax
  std::uint32_t sequence = 0;  ///< of the images on these streams, from 0
  std::uint64_t checksum = 0;  ///< of the header with 0 here
};
static_assert(sizeof(ImageHeader) == 64 && std::has_unique_object_representations_v<ImageHeader>);

enum class PageCodec : std::uint32_t { none = 0, lz4 = 1 };

struct ChunkHeader {
  std::uint32_t magic = kChunkMagic;
  std::uint32_t index = 0;  ///< from 0 in each image
  std::uint32_t data_pages = 0;
  std::uint32_t zero_pages = 0;
  PageCodec codec = PageCodec::none;
  std::uint32_t packed_bytes = 0;   ///< of the LZ4 block; 0: the data pages come as they are
  std::uint64_t body_checksum = 0;  ///< of the numbers and the data pages, as they come
  std::uint64_t checksum = 0;       ///< of the header with 0 here
};
static_assert(sizeof(ChunkHeader) == 40 && std::has_unique_object_representations_v<ChunkHeader>);

struct ImageTrailer {
  std::uint32_t magic = kTrailerMagic;
  std::uint32_t epoch = 0;
  std::uint64_t generation = 0;
  std::uint64_t pages = 0;
  std::uint64_t chunks = 0;
  std::uint64_t content_checksum = 0;  ///< of the chunk headers' checksums in order, meta, device state
  std::uint64_t checksum = 0;          ///< of the trailer with 0 here
};
static_assert(sizeof(ImageTrailer) == 48 && std::has_unique_object_representations_v<ImageTrailer>);

/// XXH3-64 of `bytes`.
std::uint64_t checksum_of(std::span<const std::byte> bytes);

/// XXH3-64 of a header as it is with 0 in its `checksum`.
template <typename Header>
std::uint64_t header_checksum(Header header) {
  header.checksum = 0;
  return checksum_of(std::as_bytes(std::span(&header, 1)));
}

/// Refuses what this receiver cannot take: damage, another version, another VM's size, blobs beyond the bounds.
Result<void> verify(const ImageHeader& header, std::uint64_t ram_bytes);
/// Refuses a part of another image than `first`'s, or one whose place is not the `part`th.
Result<void> verify_part(const ImageHeader& header, const ImageHeader& first, std::size_t part);
/// Refuses damage, a chunk out of order or beyond the bounds.
Result<void> verify(const ChunkHeader& header, std::uint32_t expected_index);
/// Refuses damage and a trailer of another part than `header`'s.
Result<void> verify(const ImageTrailer& trailer, const ImageHeader& header, std::uint64_t pages, std::uint64_t chunks,
                    std::uint64_t content_checksum);

}  // namespace twinstep::memory
