// SPDX-License-Identifier: Apache-2.0
#include "memory/stream_sender.hpp"

#include <sys/socket.h>

#include <utility>

#include "memory/os_error.hpp"

namespace twinstep::memory {
namespace {

template <typename T>
std::span<const std::byte> bytes_of(const T& object) {
  return std::as_bytes(std::span(&object, 1));
}

}  // namespace

StreamSender::StreamSender(int socket, RingSender ring, std::vector<Slot> slots)
    : socket_(socket), ring_(std::move(ring)), slots_(std::move(slots)) {}

Result<StreamSender> StreamSender::create(int socket, std::chrono::milliseconds stall_timeout) {
  auto ring = RingSender::create(socket, stall_timeout);
  if (!ring) return tl::unexpected(ring.error());
  std::vector<Slot> slots;
  while (slots.size() < RingSender::kSlots) {
    auto chunk = Chunk::create();
    if (!chunk) return tl::unexpected(chunk.error());
    slots.emplace_back(std::move(*chunk));
  }
  return StreamSender(socket, std::move(*ring), std::move(slots));
}

Result<void> StreamSender::limit_rate(std::uint64_t bytes_per_s) {
  if (bytes_per_s == rate_bytes_per_s_) return {};
  const std::uint64_t rate = bytes_per_s == 0 ? ~std::uint64_t{0} : bytes_per_s;
  if (::setsockopt(socket_, SOL_SOCKET, SO_MAX_PACING_RATE, &rate, sizeof(rate)) != 0)
    return fail_errno("cannot limit the page stream's rate");
  rate_bytes_per_s_ = bytes_per_s;
  return {};
}

Result<void> StreamSender::send(const ImageHeader& header, PageFeed& feed, const ImageTail& tail, Sent& sent,
                                const OnChunk& on_chunk) {
  content_.reset();
  chunks_ = 0;
  pages_ = 0;
  add_piece(bytes_of(header));
  auto step = send_chunks(feed, sent, on_chunk);
  if (step) step = send_end(header, tail, sent);
  pieces_.clear();
  return step;
}

// The slots take turns, so that one can be filled while the kernel still reads the others.
Result<void> StreamSender::send_chunks(PageFeed& feed, Sent& sent, const OnChunk& on_chunk) {
  for (std::size_t turn = 0;; ++turn) {
    Slot& slot = slots_[turn % slots_.size()];
    if (auto freed = ring_.wait_free(turn % slots_.size()); !freed) return freed;
    slot.chunk.clear();
    feed.fill(slot.chunk);
    if (slot.chunk.empty()) return {};
    auto step = send_chunk(slot, sent);
    if (step && on_chunk) step = on_chunk();
    if (!step) return step;
  }
}

Result<void> StreamSender::send_chunk(Slot& slot, Sent& sent) {
  slot.header = make_header(slot.chunk);
  add_piece(bytes_of(slot.header));
  add_piece(std::as_bytes(slot.chunk.data_numbers()));
  add_piece(std::as_bytes(slot.chunk.zero_numbers()));
  for (const auto run : slot.chunk.runs()) add_piece(run);
  pages_ += slot.chunk.pages();
  sent.pages += slot.chunk.pages();
  return flush(static_cast<std::size_t>(&slot - slots_.data()), sent);
}

Result<void> StreamSender::send_end(const ImageHeader& header, const ImageTail& tail, Sent& sent) {
  // The slot that got no more pages is free.
  Slot& slot = slots_[chunks_ % slots_.size()];
  slot.header = make_header(slot.chunk);
  ImageTrailer trailer;
  trailer.epoch = header.epoch;
  trailer.generation = header.generation;
  trailer.pages = pages_;
  trailer.chunks = chunks_;
  add_piece(bytes_of(slot.header));
  for (const auto blob : {tail.meta, tail.device_state, std::as_bytes(tail.page_checksums)}) {
    content_.add(blob);
    add_piece(blob);
  }
  trailer.content_checksum = content_.value();
  trailer.checksum = header_checksum(trailer);
  add_piece(bytes_of(trailer));
  auto step = flush(static_cast<std::size_t>(&slot - slots_.data()), sent);
  return step ? ring_.wait_all_free() : step;
}

ChunkHeader StreamSender::make_header(const Chunk& chunk) {
  body_.reset();
  body_.add(std::as_bytes(chunk.data_numbers()));
  body_.add(std::as_bytes(chunk.zero_numbers()));
  for (const auto run : chunk.runs()) body_.add(run);
  ChunkHeader header;
  header.index = chunks_++;
  header.data_pages = static_cast<std::uint32_t>(chunk.data_numbers().size());
  header.zero_pages = static_cast<std::uint32_t>(chunk.zero_numbers().size());
  header.body_checksum = body_.value();
  header.checksum = header_checksum(header);
  content_.add(bytes_of(header.checksum));
  return header;
}

void StreamSender::add_piece(std::span<const std::byte> piece) {
  // sendmsg(2) only reads, but shares its type with recvmsg(2).
  if (!piece.empty()) pieces_.push_back({const_cast<std::byte*>(piece.data()), piece.size()});
}

Result<void> StreamSender::flush(std::size_t slot, Sent& sent) {
  for (const iovec& piece : pieces_) sent.bytes += piece.iov_len;
  auto step = ring_.send(pieces_, slot);
  pieces_.clear();
  return step;
}

}  // namespace twinstep::memory
