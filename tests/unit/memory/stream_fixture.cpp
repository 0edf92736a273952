// SPDX-License-Identifier: Apache-2.0
#include "stream_fixture.hpp"

#include <sys/socket.h>

#include <algorithm>
#include <random>
#include <stdexcept>
#include <thread>

namespace twinstep::memory::test {
namespace {

constexpr std::byte kUntouched{0xee};

std::vector<std::byte> read_to_end(int fd) {
  std::vector<std::byte> all;
  std::vector<std::byte> block(1 << 16);
  for (ssize_t got = 1; got > 0;) {
    got = ::recv(fd, block.data(), block.size(), 0);
    if (got > 0) all.insert(all.end(), block.begin(), block.begin() + got);
  }
  return all;
}

template <typename T>
T value(Result<T> result) {
  if (!result) throw std::runtime_error(result.error().message);
  return std::move(*result);
}

}  // namespace

SocketPair::SocketPair() {
  std::array<int, 2> ends{};
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()) != 0) throw std::runtime_error("socketpair");
  left = io::UniqueFd(ends[0]);
  right = io::UniqueFd(ends[1]);
}

std::vector<std::byte> record(const std::function<void(ImageSender&)>& send) {
  SocketPair sockets;
  std::vector<std::byte> stream;
  std::thread reader([&] { stream = read_to_end(sockets.right.get()); });
  {
    auto sender = value(ImageSender::create(sockets.left.get(), kTimeout));
    send(sender);
  }
  sockets.left.reset();
  reader.join();
  return stream;
}

std::vector<std::byte> make_ram(std::size_t pages, std::uint64_t seed) {
  std::vector<std::byte> ram(pages * kPageBytes);
  for (std::size_t page = 0; page < pages; ++page) {
    if (page % 5 == 0) continue;
    std::mt19937_64 random(seed + page);
    std::generate_n(ram.begin() + static_cast<std::ptrdiff_t>(page * kPageBytes), kPageBytes,
                    [&] { return static_cast<std::byte>(random()); });
  }
  return ram;
}

Receiving::Receiving(std::size_t pages, std::size_t epoch_bytes_max)
    : ram(pages * kPageBytes, kUntouched),
      absent(pages),
      image(value(Image::create(epoch_bytes_max))),
      receiver(value(ImageReceiver::create(ram, absent))) {}

Result<Received> Receiving::replay(std::span<const std::byte> stream) {
  SocketPair sockets;
  std::thread writer([&] {
    while (!stream.empty()) {
      const ssize_t sent = ::send(sockets.left.get(), stream.data(), stream.size(), MSG_NOSIGNAL);
      if (sent <= 0) break;
      stream = stream.subspan(static_cast<std::size_t>(sent));
    }
    ::shutdown(sockets.left.get(), SHUT_RDWR);
  });
  auto received = receiver.receive(SocketReader(sockets.right.get()), image, kTimeout, kTimeout);
  ::shutdown(sockets.right.get(), SHUT_RDWR);
  writer.join();
  return received;
}

bool Receiving::ram_untouched() const {
  return std::all_of(ram.begin(), ram.end(), [](std::byte byte) { return byte == kUntouched; });
}

}  // namespace twinstep::memory::test
