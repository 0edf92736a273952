// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "core/result.hpp"
#include "memory/chunk.hpp"
#include "memory/image_format.hpp"
#include "memory/stream_sender.hpp"

namespace twinstep::memory {

/// What went over the page streams for an image.
struct SentInfo {
  std::uint64_t pages = 0;
  std::uint64_t bytes = 0;
};

/// Writes memory images to one or more page streams (image_format.hpp). Each stream takes the next pages as soon as it
/// got rid of its last, so a slow one delays nothing but the pages that it has.
class ImageSender {
 public:
  /// `sockets`: 1..kStreamsMax, connected, of stream type; they stay the caller's, as does closing them after the
  /// sender is gone. `stall_timeout`: longest time in which no byte may move on a stream. `rule`: by which each stream
  /// compresses.
  static Result<ImageSender> create(std::span<const int> sockets, std::chrono::milliseconds stall_timeout,
                                    const checkpoint::PackRule& rule = checkpoint::PackRule());

  /// Sends no more than this from the next image on; 0: as fast as the link takes it.
  void limit_rate(std::uint64_t bytes_per_s) { rate_bytes_per_s_ = bytes_per_s; }

  /// Called in the caller's thread, now and then, with what was sent of the image so far. An Error ends it.
  using OnSent = std::function<Result<void>(const SentInfo& sent)>;
  /// Sends one image. The caller fills in kind, generation, epoch and the RAM's size. Blocks; ended early by ::shutdown
  /// of the sockets. After an Error the sockets are shut down: the streams are of no more use.
  Result<SentInfo> send(ImageHeader header, PageFeed& feed, const ImageTail& tail, const OnSent& on_sent = {});

  std::size_t streams() const { return streams_.size(); }
  /// Whether the kernel sends on all streams that were in use without a copy, as far as it has told.
  bool zero_copy() const;
  /// Whether pages are compressed at present, on a stream at least (checkpoint::PackRule).
  bool packs() const;

 private:
  ImageSender(std::span<const int> sockets, std::vector<StreamSender> streams)
      : sockets_(sockets.begin(), sockets.end()), streams_(std::move(streams)) {}
  void end_streams() const;

  std::vector<int> sockets_;
  std::vector<StreamSender> streams_;
  std::uint64_t rate_bytes_per_s_ = 0;
  std::uint32_t sequence_ = 0;
};

}  // namespace twinstep::memory
