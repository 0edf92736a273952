// SPDX-License-Identifier: Apache-2.0
#include "memory/stream_sender.hpp"

#include <sys/socket.h>

#include <algorithm>
#include <chrono>
#include <utility>

#include "memory/link_rate.hpp"
#include "memory/os_error.hpp"

namespace twinstep::memory {
namespace {

/// The link is measured after so many chunks, 2 MiB.
constexpr std::uint32_t kChunksPerMeasurement = 4;
/// While pages aren't compressed, one of so many chunks is, to know what that would bring.
constexpr std::uint32_t kChunksPerSample = 64;

template <typename T>
std::span<const std::byte> bytes_of(const T& object) {
  return std::as_bytes(std::span(&object, 1));
}

}  // namespace

StreamSender::StreamSender(int socket, RingSender ring, Packer packer, const checkpoint::PackRule& rule,
                           std::vector<Slot> slots)
    : socket_(socket), ring_(std::move(ring)), slots_(std::move(slots)), packer_(std::move(packer)), rule_(rule) {}

Result<StreamSender> StreamSender::create(int socket, std::chrono::milliseconds stall_timeout,
                                          const checkpoint::PackRule& rule) {
  auto ring = RingSender::create(socket, stall_timeout);
  if (!ring) return tl::unexpected(ring.error());
  std::vector<Slot> slots;
  while (slots.size() < RingSender::kSlots) {
    auto chunk = Chunk::create();
    if (!chunk) return tl::unexpected(chunk.error());
    auto packed = Mapping::anonymous(kChunkDataPagesMax * kPageBytes);
    if (!packed) return tl::unexpected(packed.error());
    slots.emplace_back(std::move(*chunk), std::move(*packed));
  }
  auto packer = Packer::create();
  if (!packer) return tl::unexpected(packer.error());
  return StreamSender(socket, std::move(*ring), std::move(*packer), rule, std::move(slots));
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
  measure_link();
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

// A limit that was set is as good as a link that takes no more.
void StreamSender::measure_link() {
  const std::uint64_t measured = delivery_rate(socket_);
  const std::uint64_t limit = rate_bytes_per_s_;
  rule_.on_link(limit == 0 || measured == 0 ? std::max(measured, limit) : std::min(measured, limit));
}

// The chunk's pages compressed, if that is called for and makes them smaller.
std::span<const std::byte> StreamSender::pack(Slot& slot) {
  const std::size_t bytes = slot.chunk.data_numbers().size() * kPageBytes;
  const bool packs = rule_.packs();
  const bool samples = !packs && rule_.wants_sample() && chunks_to_sample_ == 0;
  if (chunks_to_sample_ > 0) --chunks_to_sample_;
  if (bytes == 0 || (!packs && !samples)) return {};
  chunks_to_sample_ = kChunksPerSample;
  const auto start = std::chrono::steady_clock::now();
  const auto packed = packer_.pack(slot.chunk, slot.packed.bytes().first(bytes - 1));
  rule_.on_packed(bytes, packed.empty() ? bytes : packed.size(),
                  std::chrono::nanoseconds(std::chrono::steady_clock::now() - start).count());
  return packs ? packed : std::span<const std::byte>();
}

Result<void> StreamSender::send_chunk(Slot& slot, Sent& sent) {
  if (chunks_ % kChunksPerMeasurement == kChunksPerMeasurement - 1) measure_link();
  const auto packed = pack(slot);
  slot.header = make_header(slot.chunk, packed);
  add_piece(bytes_of(slot.header));
  add_piece(std::as_bytes(slot.chunk.data_numbers()));
  add_piece(std::as_bytes(slot.chunk.zero_numbers()));
  if (packed.empty()) {
    for (const auto run : slot.chunk.runs()) add_piece(run);
  } else {
    add_piece(packed);
  }
  pages_ += slot.chunk.pages();
  sent.pages += slot.chunk.pages();
  return flush(static_cast<std::size_t>(&slot - slots_.data()), sent);
}

Result<void> StreamSender::send_end(const ImageHeader& header, const ImageTail& tail, Sent& sent) {
  // The slot that got no more pages is free.
  Slot& slot = slots_[chunks_ % slots_.size()];
  slot.header = make_header(slot.chunk, {});
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

ChunkHeader StreamSender::make_header(const Chunk& chunk, std::span<const std::byte> packed) {
  body_.reset();
  body_.add(std::as_bytes(chunk.data_numbers()));
  body_.add(std::as_bytes(chunk.zero_numbers()));
  if (packed.empty()) {
    for (const auto run : chunk.runs()) body_.add(run);
  } else {
    body_.add(packed);
  }
  ChunkHeader header;
  if (!packed.empty()) header.codec = PageCodec::lz4;
  header.packed_bytes = static_cast<std::uint32_t>(packed.size());
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
