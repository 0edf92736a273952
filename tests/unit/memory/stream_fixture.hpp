// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
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

/// What `send` writes to a stream.
std::vector<std::byte> record(const std::function<void(ImageSender&)>& send);

/// `pages` of RAM: page n has random content of seed n + `seed`, but each fifth is zero.
std::vector<std::byte> make_ram(std::size_t pages, std::uint64_t seed);

/// A receiver with all it needs, its RAM filled with 0xee.
struct Receiving {
  explicit Receiving(std::size_t pages, std::size_t epoch_bytes_max = std::size_t{64} << 20);
  /// Lets it read `stream`, after which the stream ends.
  Result<Received> replay(std::span<const std::byte> stream);
  bool ram_untouched() const;

  std::vector<std::byte> ram;
  PageBitmap absent;
  Image image;
  ImageReceiver receiver;
};

}  // namespace twinstep::memory::test
