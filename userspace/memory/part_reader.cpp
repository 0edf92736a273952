// SPDX-License-Identifier: Apache-2.0
#include "memory/part_reader.hpp"

#include <algorithm>
#include <cstring>
#include <string>
#include <utility>

#include "memory/packer.hpp"

namespace twinstep::memory {
namespace {

template <typename Header>
std::span<std::byte> bytes_of(Header& header) {
  return std::as_writable_bytes(std::span(&header, 1));
}

}  // namespace

Result<PartReader> PartReader::create(int socket) {
  auto live_pages = Mapping::anonymous(kChunkDataPagesMax * kPageBytes);
  if (!live_pages) return tl::unexpected(live_pages.error());
  return Mapping::anonymous(kChunkDataPagesMax * kPageBytes).map([&](Mapping packed) {
    return PartReader(socket, std::move(*live_pages), std::move(packed));
  });
}

Result<ImageHeader> PartReader::read_header(std::uint64_t ram_bytes, std::chrono::milliseconds stall_timeout) {
  stall_timeout_ = stall_timeout;
  ImageHeader header;
  auto step = read_bytes(bytes_of(header));
  if (step) step = verify(header, ram_bytes);
  if (!step) return tl::unexpected(step.error());
  return header;
}

Result<std::uint64_t> PartReader::read(const ImageHeader& header, PartTarget& target) {
  content_.reset();
  std::uint32_t chunks = 0;
  std::uint64_t pages = 0;
  for (bool more = true; more; ++chunks) {
    ChunkHeader chunk;
    auto step = read_bytes(bytes_of(chunk));
    if (step) step = verify(chunk, chunks);
    if (step) step = read_chunk(header, chunk, target);
    if (!step) return tl::unexpected(step.error());
    content_.add(std::as_bytes(std::span(&chunk.checksum, 1)));
    const std::uint64_t chunk_pages = std::uint64_t{chunk.data_pages} + chunk.zero_pages;
    pages += chunk_pages;
    more = chunk_pages > 0;
    if (pages > header.ram_bytes / kPageBytes) return fail("the peer's memory image has more pages than the VM");
  }
  // Only the first part has a tail, so nobody else writes there.
  auto step = header.part == 0 ? read_tail(header, *target.image) : Result<void>();
  ImageTrailer trailer;
  if (step) step = read_bytes(bytes_of(trailer));
  if (step) step = verify(trailer, header, pages, chunks, content_.value());
  if (!step) return tl::unexpected(step.error());
  return pages;
}

Result<void> PartReader::read_chunk(const ImageHeader& header, const ChunkHeader& chunk, PartTarget& target) {
  return header.kind == ImageKind::live_round ? read_live_chunk(chunk, target) : read_kept_chunk(chunk, target);
}

Result<void> PartReader::read_live_chunk(const ChunkHeader& chunk, PartTarget& target) {
  const auto data = live_pages_.bytes().first(chunk.data_pages * kPageBytes);
  if (auto body = read_body(chunk, data, target.ram.size() / kPageBytes); !body) return body;
  const auto numbers = std::span(numbers_);
  for (std::size_t i = 0; i < chunk.data_pages; ++i) {
    std::memcpy(target.ram.data() + std::size_t{numbers[i]} * kPageBytes, data.data() + i * kPageBytes, kPageBytes);
  }
  const std::lock_guard lock(target.mutex);
  for (const PageNumber number : numbers.first(chunk.data_pages)) target.absent->reset(number);
  for (const PageNumber number : numbers.subspan(chunk.data_pages)) {
    write_zero_page(target.ram, *target.absent, number);
  }
  return {};
}

Result<void> PartReader::read_kept_chunk(const ChunkHeader& chunk, PartTarget& target) {
  Image& image = *target.image;
  std::unique_lock lock(target.mutex);
  const auto place = image.data_.take(chunk.data_pages);
  lock.unlock();
  if (!place) return tl::unexpected(place.error());
  const auto data = image.data_.pages(*place, chunk.data_pages);
  if (auto body = read_body(chunk, data, target.ram.size() / kPageBytes); !body) return body;
  const auto zeros = numbers_.begin() + chunk.data_pages;
  Image::Piece piece{*place, {numbers_.begin(), zeros}, {zeros, numbers_.end()}};
  lock.lock();
  image.pieces_.push_back(std::move(piece));
  image.zero_pages_ += chunk.zero_pages;
  return {};
}

// Fills numbers_ (data pages', then zero pages') and `data`, and verifies both.
Result<void> PartReader::read_body(const ChunkHeader& chunk, std::span<std::byte> data, std::size_t ram_pages) {
  numbers_.resize(std::size_t{chunk.data_pages} + chunk.zero_pages);
  const auto number_bytes = std::as_writable_bytes(std::span(numbers_));
  const bool packed = chunk.codec != PageCodec::none;
  const auto body = packed ? packed_.bytes().first(chunk.packed_bytes) : data;
  auto step = read_bytes(number_bytes);
  if (step) step = read_bytes(body);
  if (!step) return step;
  body_.reset();
  body_.add(number_bytes);
  body_.add(body);
  if (body_.value() != chunk.body_checksum) {
    return fail("the memory image was damaged on the page stream: pages of chunk " + std::to_string(chunk.index));
  }
  if (std::any_of(numbers_.begin(), numbers_.end(), [&](PageNumber number) { return number >= ram_pages; })) {
    return fail("the peer's memory image names pages beyond the end of the VM's RAM");
  }
  return packed ? unpack(body, data) : Result<void>();
}

Result<void> PartReader::read_tail(const ImageHeader& header, Image& image) {
  image.meta_.resize(header.meta_bytes);
  image.device_state_.resize(header.state_bytes);
  image.page_checksums_.resize(header.verify_bytes / kPageChecksumBytes);
  auto step = read_blob(image.meta_);
  if (step) step = read_blob(image.device_state_);
  if (step) step = read_blob(std::as_writable_bytes(std::span(image.page_checksums_)));
  return step;
}

Result<void> PartReader::read_blob(std::span<std::byte> to) {
  auto step = read_bytes(to);
  content_.add(to);
  return step;
}

}  // namespace twinstep::memory
