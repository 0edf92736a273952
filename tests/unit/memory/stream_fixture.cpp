// SPDX-License-Identifier: Apache-2.0
#include "stream_fixture.hpp"

#include <sys/socket.h>

#include <algorithm>
#include <cstring>
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

Recording record(std::size_t streams, const std::function<void(ImageSender&)>& send) {
  std::vector<SocketPair> sockets(streams);
  std::vector<int> ends;
  for (const auto& pair : sockets) ends.push_back(pair.left.get());
  Recording recording(streams);
  std::vector<std::thread> readers;
  for (std::size_t i = 0; i < streams; ++i) {
    readers.emplace_back([&, i] { recording[i] = read_to_end(sockets[i].right.get()); });
  }
  {
    auto sender = value(ImageSender::create(ends, kTimeout));
    send(sender);
  }
  for (auto& pair : sockets) pair.left.reset();
  for (auto& reader : readers) reader.join();
  return recording;
}

void SpanFeed::fill(Chunk& chunk) {
  while (chunk.has_room_for(1)) {
    const std::size_t i = next_.fetch_add(1);
    if (i >= numbers_.size()) return;
    chunk.add(numbers_[i], content_.subspan(i * kPageBytes, kPageBytes));
  }
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
    : ram(pages * kPageBytes, kUntouched), absent(pages), image(value(Image::create(epoch_bytes_max))) {}

ImageReceiver Receiving::receiver(std::span<const int> sockets) {
  return value(ImageReceiver::create(ram, absent, sockets));
}

Result<Received> Receiving::replay(std::span<const std::vector<std::byte>> streams) {
  std::vector<SocketPair> sockets(streams.size());
  std::vector<int> ends;
  std::vector<std::thread> writers;
  for (std::size_t i = 0; i < streams.size(); ++i) {
    ends.push_back(sockets[i].right.get());
    writers.emplace_back([socket = sockets[i].left.get(), stream = std::span(streams[i])]() mutable {
      while (!stream.empty()) {
        const ssize_t sent = ::send(socket, stream.data(), stream.size(), MSG_NOSIGNAL);
        if (sent <= 0) break;
        stream = stream.subspan(static_cast<std::size_t>(sent));
      }
      ::shutdown(socket, SHUT_RDWR);
    });
  }
  auto reader = receiver(ends);
  auto received = reader.receive(image, kTimeout, kTimeout);
  while (received && received->kind == ImageKind::ahead) received = reader.receive(image, kTimeout, kTimeout);
  for (const int socket : ends) ::shutdown(socket, SHUT_RDWR);
  for (auto& writer : writers) writer.join();
  return received;
}

bool Receiving::ram_untouched() const {
  return ram.front() == kUntouched && std::memcmp(ram.data(), ram.data() + 1, ram.size() - 1) == 0;
}

}  // namespace twinstep::memory::test
