// SPDX-License-Identifier: Apache-2.0
#include "memory/image_sender.hpp"

#include <sys/socket.h>

#include <array>
#include <cstring>
#include <stdexcept>

#include "memory/os_error.hpp"

namespace twinstep::memory {
namespace {

bool is_zero(std::span<const std::byte> page) {
  // All zeros if the first byte is zero and each byte equals its neighbour.
  return page.front() == std::byte{0} && std::memcmp(page.data(), page.data() + 1, page.size() - 1) == 0;
}

// Adds a page's content to runs of memory without gaps.
void append(std::vector<std::span<const std::byte>>& runs, std::span<const std::byte> page) {
  if (!runs.empty() && runs.back().data() + runs.back().size() == page.data()) {
    runs.back() = std::span(runs.back().data(), runs.back().size() + page.size());
  } else {
    runs.push_back(page);
  }
}

}  // namespace

Result<ImageSender> ImageSender::create(int socket, std::chrono::milliseconds stall_timeout) {
  return RingSender::create(socket, stall_timeout).map([&](RingSender ring) {
    return ImageSender(socket, std::move(ring));
  });
}

Result<void> ImageSender::limit_rate(std::uint64_t bytes_per_s) {
  const std::uint64_t rate = bytes_per_s == 0 ? ~std::uint64_t{0} : bytes_per_s;
  if (::setsockopt(socket_, SOL_SOCKET, SO_MAX_PACING_RATE, &rate, sizeof(rate)) != 0)
    return fail_errno("cannot limit the page stream's rate");
  return {};
}

Result<void> ImageSender::begin(ImageHeader header, const ImageTail& tail) {
  if (tail.meta.size() > kMetaBytesMax || tail.device_state.size() > kStateBytesMax) {
    return fail("a checkpoint's device state or meta data is beyond 64 MiB");
  }
  header.magic = kImageMagic;
  header.version = kImageVersion;
  header.meta_bytes = static_cast<std::uint32_t>(tail.meta.size());
  header.state_bytes = static_cast<std::uint32_t>(tail.device_state.size());
  header.verify_bytes = tail.page_checksums.size_bytes();
  header.checksum = header_checksum(header);
  header_ = header;
  content_.reset();
  chunks_ = 0;
  pages_ = 0;
  bytes_sent_ = 0;
  return send(std::array{std::as_bytes(std::span(&header_, 1))});
}

Result<void> ImageSender::add(PageNumber number, std::span<const std::byte> page) {
  if (is_zero(page)) {
    zero_numbers_.push_back(number);
  } else {
    data_numbers_.push_back(number);
    append(runs_, page);
  }
  const std::size_t pages = data_numbers_.size() + zero_numbers_.size();
  if (data_numbers_.size() < kChunkDataPagesMax && pages < kChunkPagesMax) return {};
  return send_chunk();
}

Result<void> ImageSender::flush() {
  if (data_numbers_.empty() && zero_numbers_.empty()) return {};
  return send_chunk();
}

Result<void> ImageSender::send_chunk() {
  body_.reset();
  body_.add(std::as_bytes(std::span(data_numbers_)));
  body_.add(std::as_bytes(std::span(zero_numbers_)));
  for (const auto run : runs_) body_.add(run);

  ChunkHeader chunk;
  chunk.index = chunks_++;
  chunk.data_pages = static_cast<std::uint32_t>(data_numbers_.size());
  chunk.zero_pages = static_cast<std::uint32_t>(zero_numbers_.size());
  chunk.body_checksum = body_.value();
  chunk.checksum = header_checksum(chunk);
  content_.add(std::as_bytes(std::span(&chunk.checksum, 1)));
  pages_ += data_numbers_.size() + zero_numbers_.size();

  const std::array head{std::as_bytes(std::span(&chunk, 1)), std::as_bytes(std::span(data_numbers_)),
                        std::as_bytes(std::span(zero_numbers_))};
  runs_.insert(runs_.begin(), head.begin(), head.end());
  auto sent = send(runs_);
  data_numbers_.clear();
  zero_numbers_.clear();
  runs_.clear();
  return sent;
}

Result<void> ImageSender::finish(const ImageTail& tail) {
  if (tail.meta.size() != header_.meta_bytes || tail.device_state.size() != header_.state_bytes ||
      tail.page_checksums.size_bytes() != header_.verify_bytes) {
    throw std::logic_error("a memory image is not as its header says");
  }
  if (auto flushed = flush(); !flushed) return flushed;
  if (auto ended = send_chunk(); !ended) return ended;  // of no pages
  const auto page_checksums = std::as_bytes(tail.page_checksums);
  content_.add(tail.meta);
  content_.add(tail.device_state);
  content_.add(page_checksums);
  ImageTrailer trailer;
  trailer.epoch = header_.epoch;
  trailer.generation = header_.generation;
  trailer.pages = pages_;
  trailer.chunks = chunks_;
  trailer.content_checksum = content_.value();
  trailer.checksum = header_checksum(trailer);
  return send(std::array{tail.meta, tail.device_state, page_checksums, std::as_bytes(std::span(&trailer, 1))});
}

Result<void> ImageSender::send(std::span<const std::span<const std::byte>> pieces) {
  pieces_.clear();
  for (const auto piece : pieces) {
    if (piece.empty()) continue;
    // sendmsg(2) only reads, but shares its type with recvmsg(2).
    pieces_.push_back({const_cast<std::byte*>(piece.data()), piece.size()});
    bytes_sent_ += piece.size();
  }
  return ring_.send(pieces_);
}

}  // namespace twinstep::memory
