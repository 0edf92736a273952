// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <functional>
#include <span>
#include <vector>

#include "io/unique_fd.hpp"
#include "memory/image_receiver.hpp"
#include "memory/image_sender.hpp"

namespace twinstep::memory::test {

inline constexpr std::chrono::milliseconds kTimeout{5000};

/// Two connected stream sockets.
struct SocketPair {
  SocketPair();
  io::UniqueFd left;
  io::UniqueFd right;
};

/// What lies on each of some streams.
using Recording = std::vector<std::vector<std::byte>>;
/// What `send` writes to so many streams.
Recording record(std::size_t streams, const std::function<void(ImageSender&)>& send);

/// Pages one after the other, in any number.
class SpanFeed final : public PageFeed {
 public:
  SpanFeed(std::span<const PageNumber> numbers, std::span<const std::byte> content)
      : numbers_(numbers), content_(content) {}
  std::size_t pages_max() const override { return numbers_.size(); }
  void fill(Chunk& chunk) override;

 private:
  std::span<const PageNumber> numbers_;
  std::span<const std::byte> content_;
  std::atomic<std::size_t> next_ = 0;
};

/// `pages` of RAM: page n has random content of seed n + `seed`, but each fifth is zero.
std::vector<std::byte> make_ram(std::size_t pages, std::uint64_t seed);

/// A receiver with all it needs, its RAM filled with 0xee.
struct Receiving {
  explicit Receiving(std::size_t pages, std::size_t epoch_bytes_max = std::size_t{64} << 20);
  /// Lets a receiver read what was recorded, after which the streams end: until a checkpoint, a live round or an Error.
  Result<Received> replay(std::span<const std::vector<std::byte>> streams);
  /// A receiver of `sockets`, with this RAM.
  ImageReceiver receiver(std::span<const int> sockets);
  bool ram_untouched() const;

  std::vector<std::byte> ram;
  PageBitmap absent;
  Image image;
};

}  // namespace twinstep::memory::test
