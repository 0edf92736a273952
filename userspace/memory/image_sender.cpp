// SPDX-License-Identifier: Apache-2.0
#include "memory/image_sender.hpp"

#include <sys/socket.h>

#include <algorithm>
#include <thread>
#include <utility>

#include "memory/outcome.hpp"

namespace twinstep::memory {
namespace {

/// A stream of its own, with its thread on both hosts, pays from so many pages on: 4 MiB.
constexpr std::size_t kPagesPerStreamMin = 1024;

ImageHeader header_of_part(ImageHeader header, std::size_t part, const ImageTail& tail) {
  header.part = static_cast<std::uint8_t>(part);
  header.meta_bytes = static_cast<std::uint32_t>(tail.meta.size());
  header.state_bytes = static_cast<std::uint32_t>(tail.device_state.size());
  header.verify_bytes = tail.page_checksums.size_bytes();
  header.checksum = header_checksum(header);
  return header;
}

}  // namespace

Result<ImageSender> ImageSender::create(std::span<const int> sockets, std::chrono::milliseconds stall_timeout,
                                        const checkpoint::PackRule& rule) {
  std::vector<StreamSender> streams;
  for (const int socket : sockets) {
    auto stream = StreamSender::create(socket, stall_timeout, rule);
    if (!stream) return tl::unexpected(stream.error());
    streams.push_back(std::move(*stream));
  }
  return ImageSender(sockets, std::move(streams));
}

bool ImageSender::zero_copy() const {
  return std::any_of(streams_.begin(), streams_.end(), [](const auto& stream) { return stream.zero_copy(); });
}

bool ImageSender::packs() const {
  return std::any_of(streams_.begin(), streams_.end(), [](const auto& stream) { return stream.packs(); });
}

Result<SentInfo> ImageSender::send(ImageHeader header, PageFeed& feed, const ImageTail& tail, const OnSent& on_sent) {
  if (tail.meta.size() > kMetaBytesMax || tail.device_state.size() > kStateBytesMax)
    return fail("a checkpoint's device state or meta data is beyond 64 MiB");
  const std::size_t parts = std::clamp<std::size_t>(feed.pages_max() / kPagesPerStreamMin, 1, streams_.size());
  header.parts = static_cast<std::uint32_t>(parts);
  header.sequence = sequence_++;
  StreamSender::Sent sent;
  Outcome outcome;
  // A stream that fails ends the others: without it the image can't become whole.
  const auto send_part = [&](std::size_t part, const ImageTail& part_tail, const StreamSender::OnChunk& on_chunk) {
    auto step = streams_[part].limit_rate(rate_bytes_per_s_ / parts);
    if (step) step = streams_[part].send(header_of_part(header, part, part_tail), feed, part_tail, sent, on_chunk);
    if (!step && outcome.add(step.error())) end_streams();
  };
  {
    std::vector<std::jthread> others;
    for (std::size_t part = 1; part < parts; ++part) {
      others.emplace_back([&send_part, part] { send_part(part, {}, {}); });
    }
    send_part(0, tail, [&]() -> Result<void> { return on_sent ? on_sent({sent.pages, sent.bytes}) : Result<void>(); });
  }
  if (outcome.error()) return tl::unexpected(*outcome.error());
  return SentInfo{sent.pages, sent.bytes};
}

void ImageSender::end_streams() const {
  for (const int socket : sockets_) ::shutdown(socket, SHUT_RDWR);
}

}  // namespace twinstep::memory
