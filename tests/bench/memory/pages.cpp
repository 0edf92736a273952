// SPDX-License-Identifier: Apache-2.0
// How fast scattered pages get from the RAM of a guest to that of its twin, next to a copy of them in memory and to a
// plain send of as many bytes that lie together.
// pages receive ADDRESS PORT PAGES STREAMS: the peer.
// pages send ADDRESS PORT PAGES STREAMS RUNS: one JSON object, GiB/s of each run.
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include <chrono>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <iostream>
#include <nlohmann/json.hpp>
#include <random>
#include <stdexcept>
#include <string>
#include <vector>

#include "io/unique_fd.hpp"
#include "memory/primary_memory.hpp"
#include "memory/secondary_memory.hpp"

namespace twinstep::memory {
namespace {

constexpr std::size_t kRamBytes = std::size_t{1} << 30;
constexpr std::size_t kRamPages = kRamBytes / kPageBytes;
constexpr std::size_t kBlockBytes = std::size_t{1} << 20;
constexpr std::chrono::milliseconds kTimeout{20'000};
constexpr std::uint64_t kGeneration = 1;
constexpr PageHashKey kKey = 1;

template <typename T>
T value(Result<T> result) {
  if (!result) throw std::runtime_error(result.error().message);
  if constexpr (!std::is_void_v<T>) return std::move(*result);
}

void require(bool done, const char* what) {
  if (!done) throw std::runtime_error(std::string(what) + ": " + std::strerror(errno));
}

/// Guest RAM as QEMU has it: a shared memory file, all of it in use.
Mapping make_ram() {
  const io::UniqueFd file(::memfd_create("bench-ram", MFD_CLOEXEC));
  require(file && ::ftruncate(file.get(), kRamBytes) == 0, "memfd");
  const Mapping::Piece piece{file.get(), kRamBytes};
  auto ram = value(Mapping::shared({&piece, 1}));
  auto* const words = reinterpret_cast<std::uint64_t*>(ram.bytes().data());
  for (std::size_t page = 0; page < kRamPages; ++page) words[page * kPageBytes / sizeof(*words)] = page + 1;
  return ram;
}

/// Reports the pages that it was told.
class Scattered final : public DirtySource {
 public:
  explicit Scattered(std::size_t pages) : written_(kRamPages) {
    std::mt19937_64 random(1);
    for (std::size_t count = 0; count < pages;) {
      const std::size_t page = random() % kRamPages;
      if (written_.test(page)) continue;
      written_.set(page);
      ++count;
    }
  }
  Result<void> arm() override { return {}; }
  Result<void> scan(PageBitmap& out) override {
    if (told_) out |= written_;
    told_ = false;
    return {};
  }
  Result<void> peek(PageBitmap& out) override {
    if (told_) out |= written_;
    return {};
  }
  bool scans_live() const override { return true; }

  void tell() { told_ = true; }
  const PageBitmap& pages() const { return written_; }

 private:
  PageBitmap written_;
  bool told_ = false;
};

sockaddr_in address_of(const char* address, const char* port) {
  sockaddr_in in{};
  in.sin_family = AF_INET;
  in.sin_port = htons(static_cast<std::uint16_t>(std::atoi(port)));
  require(::inet_pton(AF_INET, address, &in.sin_addr) == 1, "address");
  return in;
}

std::vector<io::UniqueFd> accept_on(const char* address, const char* port, std::size_t count) {
  const io::UniqueFd listener(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  const int on = 1;
  ::setsockopt(listener.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
  const auto in = address_of(address, port);
  require(::bind(listener.get(), reinterpret_cast<const sockaddr*>(&in), sizeof(in)) == 0, "bind");
  require(::listen(listener.get(), static_cast<int>(count)) == 0, "listen");
  std::cout << "listening" << std::endl;
  std::vector<io::UniqueFd> sockets;
  while (sockets.size() < count) {
    sockets.emplace_back(::accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC));
    require(static_cast<bool>(sockets.back()), "accept");
  }
  return sockets;
}

std::vector<io::UniqueFd> connect_to(const char* address, const char* port, std::size_t count) {
  std::vector<io::UniqueFd> sockets;
  const auto in = address_of(address, port);
  const int on = 1;
  while (sockets.size() < count) {
    sockets.emplace_back(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    const int socket = sockets.back().get();
    ::setsockopt(socket, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    require(::connect(socket, reinterpret_cast<const sockaddr*>(&in), sizeof(in)) == 0, "connect");
  }
  return sockets;
}

void say(int socket) {
  const char done = 1;
  require(::send(socket, &done, 1, MSG_NOSIGNAL) == 1, "send");
}

void hear(int socket) {
  char done = 0;
  require(::recv(socket, &done, 1, MSG_WAITALL) == 1, "the peer's answer");
}

using Sockets = std::vector<io::UniqueFd>;

std::vector<int> numbers_of(const Sockets& sockets) {
  std::vector<int> numbers;
  for (const auto& socket : sockets) numbers.push_back(socket.get());
  return numbers;
}

/// Each run of the sender, in its order: contiguous, live round, checkpoint. Told by one byte each, on the last socket.
void receive(const Sockets& sockets, std::size_t pages) {
  const int socket = sockets.back().get();
  auto streams = numbers_of(sockets);
  streams.pop_back();
  auto ram = make_ram();
  Scattered nothing(0);
  PageBitmap all(kRamPages);
  all.set_all();
  auto memory = value(SecondaryMemory::create(
      ram.bytes(), nothing, [&]() -> Result<PageBitmap> { return all; }, kRamBytes, kKey));
  value(memory.start());
  value(memory.receive_from(streams));
  auto contiguous = value(Mapping::anonymous(pages * kPageBytes));
  std::memset(contiguous.bytes().data(), 1, contiguous.bytes().size());
  for (char kind = 0; ::recv(socket, &kind, 1, MSG_WAITALL) == 1;) {
    if (kind == 'c') {
      for (auto left = contiguous.bytes(); !left.empty();) {
        const ssize_t got = ::recv(socket, left.data(), std::min(left.size(), kBlockBytes), 0);
        require(got > 0, "recv");
        left = left.subspan(static_cast<std::size_t>(got));
      }
    } else {
      value(memory.receive(kTimeout, kTimeout));
      if (kind == 'k') value(memory.apply());
      if (kind == 'k') value(memory.finish());
    }
    say(socket);
  }
}

class Sender {
 public:
  Sender(int socket, std::span<const int> streams, std::size_t pages)
      : socket_(socket),
        bytes_(pages * kPageBytes),
        ram_(make_ram()),
        source_(pages),
        memory_(value(PrimaryMemory::create(ram_.bytes(), source_, kRamBytes, kKey))),
        sender_(value(ImageSender::create(streams, kTimeout))),
        contiguous_(value(Mapping::anonymous(bytes_))) {
    std::memset(contiguous_.bytes().data(), 1, bytes_);
    // All of it is there already: the RAMs are equal.
    value(memory_.start());
    tell('l');
    value(memory_.live_round(sender_, kGeneration));
    hear(socket_);
  }

  bool zero_copy() const { return sender_.zero_copy(); }
  double copy() {
    return rate([&] {
      auto* to = contiguous_.bytes().data();
      source_.pages().for_each([&](PageNumber number) {
        std::memcpy(to, ram_.bytes().data() + std::size_t{number} * kPageBytes, kPageBytes);
        to += kPageBytes;
      });
    });
  }
  double contiguous() {
    return rate([&] {
      tell('c');
      for (std::span<const std::byte> left = contiguous_.bytes(); !left.empty();) {
        const ssize_t sent = ::send(socket_, left.data(), std::min(left.size(), kBlockBytes), MSG_NOSIGNAL);
        require(sent > 0, "send");
        left = left.subspan(static_cast<std::size_t>(sent));
      }
      hear(socket_);
    });
  }
  double live_round() {
    source_.tell();
    return rate([&] {
      tell('l');
      value(memory_.live_round(sender_, kGeneration));
      hear(socket_);
    });
  }
  /// Copied, as before and in a pause, then sent, then written when all is there and verified.
  double checkpoint() {
    const SvmPages svm{PageBitmap(kRamPages), {}};
    source_.tell();
    return rate([&] {
      tell('k');
      value(memory_.stage(svm));
      value(memory_.send_staged(sender_, kGeneration, ++epoch_, svm, {}));
      hear(socket_);
    });
  }

 private:
  void tell(char kind) { require(::send(socket_, &kind, 1, MSG_NOSIGNAL) == 1, "send"); }
  double rate(const std::function<void()>& run) const {
    const auto start = std::chrono::steady_clock::now();
    run();
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
    return static_cast<double>(bytes_) / took.count() / (1U << 30);
  }

  int socket_;
  std::size_t bytes_;
  Mapping ram_;
  Scattered source_;
  PrimaryMemory memory_;
  ImageSender sender_;
  Mapping contiguous_;
  std::uint32_t epoch_ = 0;
};

nlohmann::json send(const Sockets& sockets, std::size_t pages, int runs) {
  auto streams = numbers_of(sockets);
  streams.pop_back();
  Sender sender(sockets.back().get(), streams, pages);
  nlohmann::json rates;
  for (int run = 0; run < runs; ++run) {
    rates["memcpy"].push_back(sender.copy());
    rates["contiguous"].push_back(sender.contiguous());
    rates["live_round"].push_back(sender.live_round());
    rates["checkpoint"].push_back(sender.checkpoint());
  }
  rates["zero_copy"] = sender.zero_copy();
  return rates;
}

}  // namespace
}  // namespace twinstep::memory

int main(int argc, char** argv) {
  using namespace twinstep::memory;
  const std::string role = argc > 5 ? argv[1] : "";
  try {
    // One connection more than streams: for the plain send, and for what the two ends tell each other.
    const std::size_t sockets = argc > 5 ? std::strtoull(argv[5], nullptr, 10) + 1 : 0;
    if (role == "receive" && argc == 6) {
      receive(accept_on(argv[2], argv[3], sockets), std::strtoull(argv[4], nullptr, 10));
    } else if (role == "send" && argc == 7) {
      std::cout << send(connect_to(argv[2], argv[3], sockets), std::strtoull(argv[4], nullptr, 10), std::atoi(argv[6]))
                << std::endl;
    } else {
      std::cerr << "usage: " << argv[0]
                << " receive ADDRESS PORT PAGES STREAMS | send ADDRESS PORT PAGES STREAMS RUNS\n";
      return 2;
    }
  } catch (const std::exception& error) {
    std::cerr << "Error: " << error.what() << "\n";
    return 1;
  }
}
