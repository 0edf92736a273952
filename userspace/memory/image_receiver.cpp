// SPDX-License-Identifier: Apache-2.0
#include "memory/image_receiver.hpp"

#include <algorithm>
#include <cstring>
#include <string>

namespace twinstep::memory {
namespace {

template <typename Header>
std::span<std::byte> bytes_of(Header& header) {
  return std::as_writable_bytes(std::span(&header, 1));
}

}  // namespace

Result<ImageReceiver> ImageReceiver::create(std::span<std::byte> ram, PageBitmap& absent) {
  return Staging::create(kChunkDataPagesMax * kPageBytes).map([&](Staging chunk) {
    return ImageReceiver(ram, absent, std::move(chunk));
  });
}

Result<Received> ImageReceiver::receive(SocketReader reader, Image& image, std::chrono::milliseconds first_timeout,
                                        std::chrono::milliseconds stall_timeout) {
  if (image.complete()) image.clear();
  Reading reading{reader, stall_timeout, {}};
  auto ready = reader.wait(first_timeout);
  auto received = ready ? receive_image(reading, image) : tl::unexpected(ready.error());
  if (!received) image.clear();
  return received;
}

Result<Received> ImageReceiver::receive_image(Reading& reading, Image& image) {
  auto step = reading.reader.read(bytes_of(reading.header), reading.stall_timeout);
  if (step) step = verify(reading.header, ram_.size());
  if (!step) return tl::unexpected(step.error());

  const bool live = reading.header.kind == ImageKind::live_round;
  content_.reset();
  std::uint32_t chunks = 0;
  std::uint64_t pages = 0;
  for (bool more = true; more; ++chunks) {
    ChunkHeader chunk;
    step = reading.reader.read(bytes_of(chunk), reading.stall_timeout);
    if (step) step = verify(chunk, chunks);
    if (step) step = live ? receive_live_chunk(reading, chunk) : receive_checkpoint_chunk(reading, chunk, image);
    if (!step) return tl::unexpected(step.error());
    content_.add(std::as_bytes(std::span(&chunk.checksum, 1)));
    const std::uint64_t chunk_pages = std::uint64_t{chunk.data_pages} + chunk.zero_pages;
    pages += chunk_pages;
    more = chunk_pages > 0;
    if (pages > ram_.size() / kPageBytes) return fail("the peer's memory image has more pages than the VM");
  }
  step = read_tail(reading, image);
  ImageTrailer trailer;
  if (step) step = reading.reader.read(bytes_of(trailer), reading.stall_timeout);
  if (step) step = verify(trailer, reading.header, pages, chunks, content_.value());
  if (!step) return tl::unexpected(step.error());
  image.header_ = reading.header;
  image.complete_ = reading.header.kind == ImageKind::checkpoint;
  return Received{reading.header.kind, reading.header.generation, reading.header.epoch, pages};
}

Result<void> ImageReceiver::receive_live_chunk(const Reading& reading, const ChunkHeader& header) {
  chunk_.clear();
  const auto data = chunk_.reserve(header.data_pages);
  if (!data) return tl::unexpected(data.error());
  if (auto body = read_body(reading, header, *data); !body) return body;
  for (std::size_t i = 0; i < numbers_.size(); ++i) {
    if (i < header.data_pages) {
      write_page(ram_, *absent_, numbers_[i], data->subspan(i * kPageBytes, kPageBytes));
    } else {
      write_zero_page(ram_, *absent_, numbers_[i]);
    }
  }
  return {};
}

Result<void> ImageReceiver::receive_checkpoint_chunk(const Reading& reading, const ChunkHeader& header, Image& image) {
  const auto data = image.data_.reserve(header.data_pages);
  if (!data) return tl::unexpected(data.error());
  if (auto body = read_body(reading, header, *data); !body) return body;
  image.data_.commit(std::span(numbers_).first(header.data_pages));
  image.pieces_.push_back({header.data_pages, {numbers_.begin() + header.data_pages, numbers_.end()}});
  image.zero_pages_ += header.zero_pages;
  return {};
}

// Fills numbers_ (data pages', then zero pages') and `data`, and verifies both.
Result<void> ImageReceiver::read_body(const Reading& reading, const ChunkHeader& header, std::span<std::byte> data) {
  numbers_.resize(std::size_t{header.data_pages} + header.zero_pages);
  const auto number_bytes = std::as_writable_bytes(std::span(numbers_));
  auto step = reading.reader.read(number_bytes, reading.stall_timeout);
  if (step) step = reading.reader.read(data, reading.stall_timeout);
  if (!step) return step;
  body_.reset();
  body_.add(number_bytes);
  body_.add(data);
  if (body_.value() != header.body_checksum) {
    return fail("the memory image was damaged on the page stream: pages of chunk " + std::to_string(header.index));
  }
  const std::size_t pages = ram_.size() / kPageBytes;
  if (std::any_of(numbers_.begin(), numbers_.end(), [&](PageNumber number) { return number >= pages; })) {
    return fail("the peer's memory image names pages beyond the end of the VM's RAM");
  }
  return {};
}

Result<void> ImageReceiver::read_tail(const Reading& reading, Image& image) {
  image.meta_.resize(reading.header.meta_bytes);
  image.device_state_.resize(reading.header.state_bytes);
  image.page_checksums_.resize(reading.header.verify_bytes / kPageChecksumBytes);
  auto step = read_blob(reading, image.meta_);
  if (step) step = read_blob(reading, image.device_state_);
  if (step) step = read_blob(reading, std::as_writable_bytes(std::span(image.page_checksums_)));
  return step;
}

Result<void> ImageReceiver::read_blob(const Reading& reading, std::span<std::byte> to) {
  auto step = reading.reader.read(to, reading.stall_timeout);
  content_.add(to);
  return step;
}

}  // namespace twinstep::memory
