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

Result<ImageReceiver> ImageReceiver::create(std::span<std::byte> ram) {
  return Staging::create(kChunkDataPagesMax * kPageBytes).map([&](Staging chunk) {
    return ImageReceiver(ram, std::move(chunk));
  });
}

Result<Received> ImageReceiver::receive(SocketReader reader, Image& image, std::chrono::milliseconds first_timeout,
                                        std::chrono::milliseconds stall_timeout) {
  image.clear();
  if (auto ready = reader.wait(first_timeout); !ready) return tl::unexpected(ready.error());
  Reading reading{reader, stall_timeout, {}};
  auto step = reader.read(bytes_of(reading.header), stall_timeout);
  if (step) step = verify(reading.header, ram_.size());
  if (!step) return tl::unexpected(step.error());

  const bool live = reading.header.kind == ImageKind::live_round;
  content_.reset();
  std::uint32_t chunks = 0;
  for (std::uint64_t pages = 0; pages < reading.header.pages; ++chunks) {
    ChunkHeader chunk;
    step = reader.read(bytes_of(chunk), stall_timeout);
    if (step) step = verify(chunk, chunks);
    if (step) step = live ? receive_live_chunk(reading, chunk) : receive_checkpoint_chunk(reading, chunk, image);
    if (!step) return tl::unexpected(step.error());
    content_.add(std::as_bytes(std::span(&chunk.checksum, 1)));
    pages += std::uint64_t{chunk.data_pages} + chunk.zero_pages;
    if (pages > reading.header.pages) return fail("the peer's memory image has more pages than its header says");
  }

  step = read_blob(reading, reading.header.meta_bytes, image.meta_);
  if (step) step = read_blob(reading, reading.header.state_bytes, image.device_state_);
  ImageTrailer trailer;
  if (step) step = reader.read(bytes_of(trailer), stall_timeout);
  if (step) step = verify(trailer, reading.header, chunks, content_.value());
  if (!step) return tl::unexpected(step.error());
  image.header_ = reading.header;
  image.complete_ = !live;
  return Received{reading.header.kind, reading.header.generation, reading.header.epoch, reading.header.pages};
}

Result<void> ImageReceiver::receive_live_chunk(const Reading& reading, const ChunkHeader& header) {
  chunk_.clear();
  const auto data = chunk_.reserve(header.data_pages);
  if (!data) return tl::unexpected(data.error());
  if (auto body = read_body(reading, header, *data); !body) return body;
  for (std::size_t i = 0; i < numbers_.size(); ++i) {
    std::byte* const page = ram_.data() + std::size_t{numbers_[i]} * kPageBytes;
    if (i < header.data_pages) {
      std::memcpy(page, data->data() + i * kPageBytes, kPageBytes);
    } else {
      std::memset(page, 0, kPageBytes);
    }
  }
  return {};
}

Result<void> ImageReceiver::receive_checkpoint_chunk(const Reading& reading, const ChunkHeader& header, Image& image) {
  const auto data = image.data_.reserve(header.data_pages);
  if (!data) return tl::unexpected(data.error());
  if (auto body = read_body(reading, header, *data); !body) return body;
  image.data_.commit(std::span(numbers_).first(header.data_pages));
  image.zero_numbers_.insert(image.zero_numbers_.end(), numbers_.begin() + header.data_pages, numbers_.end());
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

Result<void> ImageReceiver::read_blob(const Reading& reading, std::size_t bytes, std::vector<std::byte>& to) {
  to.resize(bytes);
  auto step = reading.reader.read(to, reading.stall_timeout);
  content_.add(to);
  return step;
}

}  // namespace twinstep::memory
