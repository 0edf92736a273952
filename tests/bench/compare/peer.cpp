// SPDX-License-Identifier: Apache-2.0
#include "peer.hpp"

#include <fcntl.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <stdexcept>

#include "core/compare/bytes.hpp"
#include "cpu_time.hpp"
#include "frame_maker.hpp"
#include "tests/bench/compare/compare_bench.h"

namespace twinstep::bench {
namespace {

constexpr std::size_t kLengthBytes = 4;
constexpr std::size_t kInputBytes = 1 << 18;
constexpr int kPeerProcessor = 1;
constexpr int kConnectTries = 200;
constexpr useconds_t kConnectPauseUs = 20'000;

}  // namespace

Peer::Peer(const std::string& qemu, Protocol protocol)
    : number_offset_(FrameMaker::payload_offset(protocol)), input_(kInputBytes), sent_ns_(BENCH_NUMBERS) {
  std::array<char, 32> directory{"/tmp/twinstep-bench-XXXXXX"};
  if (::mkdtemp(directory.data()) == nullptr) throw std::runtime_error("cannot make a directory in /tmp");
  directory_ = directory.data();
  start(qemu);
  primary_ = connect_to("primary");
  secondary_ = connect_to("secondary");
  out_ = connect_to("out");
  await_ready();
  set_timing(false);
}

/// QEMU accepts connections when it gets round to it, and drops what comes out before. What isn't IP passes at once.
void Peer::await_ready() {
  const std::array<std::byte, 60> frame{};
  timeval patience{.tv_sec = 0, .tv_usec = 50'000};
  ::setsockopt(out_.get(), SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
  for (int i = 0; i < kConnectTries; ++i) {
    send(primary_.get(), frame);
    if (::recv(out_.get(), input_.data(), kLengthBytes + frame.size(), MSG_WAITALL) > 0) return;
  }
  throw std::runtime_error("nothing comes out of QEMU's comparison");
}

Peer::~Peer() {
  __atomic_store_n(&stopping_, true, __ATOMIC_RELEASE);
  if (process_ > 0) {
    ::kill(process_, SIGKILL);
    ::waitpid(process_, nullptr, 0);
  }
  if (reader_.joinable()) reader_.join();
  std::error_code ignored;
  std::filesystem::remove_all(directory_, ignored);
}

void Peer::start(const std::string& qemu) {
  const auto socket = [this](const std::string& name) {
    return "socket,id=" + name + ",path=" + directory_ + "/" + name + ",server=on,wait=off";
  };
  std::vector<std::string> words{qemu, "-M", "none", "-nographic", "-nodefaults", "-object", "iothread,id=iot"};
  for (const auto* name : {"primary", "secondary", "out"}) {
    words.emplace_back("-chardev");
    words.push_back(socket(name));
  }
  words.emplace_back("-object");
  words.emplace_back("colo-compare,id=c0,primary_in=primary,secondary_in=secondary,outdev=out,iothread=iot");
  process_ = ::fork();
  if (process_ == 0) {
    pin(0, kPeerProcessor);
    const int null = ::open("/dev/null", O_RDWR);
    for (const int fd : {STDIN_FILENO, STDOUT_FILENO}) ::dup2(null, fd);
    std::vector<char*> arguments;
    for (auto& word : words) arguments.push_back(word.data());
    arguments.push_back(nullptr);
    ::execvp(qemu.c_str(), arguments.data());
    ::_exit(127);
  }
}

io::UniqueFd Peer::connect_to(const std::string& name) const {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  const std::string path = directory_ + "/" + name;
  std::memcpy(address.sun_path, path.c_str(), path.size() + 1);
  for (int i = 0; i < kConnectTries; ++i) {
    io::UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    if (::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0) return fd;
    ::usleep(kConnectPauseUs);
  }
  throw std::runtime_error("QEMU does not listen on " + path);
}

void Peer::send(int fd, std::span<const std::byte> frame) {
  message_.resize(kLengthBytes + frame.size());
  compare::store_be32(message_, 0, static_cast<std::uint32_t>(frame.size()));
  std::ranges::copy(frame, message_.begin() + kLengthBytes);
  if (::send(fd, message_.data(), message_.size(), MSG_NOSIGNAL) != static_cast<ssize_t>(message_.size()))
    throw std::runtime_error("QEMU takes no packet");
}

std::uint64_t Peer::released() {
  if (timing_) read_once(false);
  return __atomic_load_n(&packets_, __ATOMIC_ACQUIRE);
}

void Peer::stamp(std::uint32_t number, std::uint64_t now_ns) {
  sent_ns_[number % BENCH_NUMBERS] = now_ns;
}

void Peer::set_timing(bool on) {
  if (reader_.joinable()) {
    __atomic_store_n(&stopping_, true, __ATOMIC_RELEASE);
    reader_.join();
  }
  timing_ = on;
  if (on) return;
  __atomic_store_n(&stopping_, false, __ATOMIC_RELEASE);
  reader_ = std::thread([this] {
    while (!__atomic_load_n(&stopping_, __ATOMIC_ACQUIRE)) read_once(true);
  });
}

void Peer::read_once(bool wait) {
  const auto got =
      ::recv(out_.get(), input_.data() + input_bytes_, input_.size() - input_bytes_, wait ? 0 : MSG_DONTWAIT);
  if (got <= 0) return;
  input_bytes_ += static_cast<std::size_t>(got);
  std::size_t at = 0;
  while (input_bytes_ - at >= kLengthBytes) {
    const std::size_t bytes = compare::load_be32(input_, at);
    if (input_bytes_ - at < kLengthBytes + bytes) break;
    take(std::span(input_).subspan(at + kLengthBytes, bytes));
    at += kLengthBytes + bytes;
  }
  std::memmove(input_.data(), input_.data() + at, input_bytes_ - at);
  input_bytes_ -= at;
}

void Peer::take(std::span<const std::byte> frame) {
  if (frame.size() < number_offset_ + sizeof(bench_tag)) return;
  bench_tag tag{};
  std::memcpy(&tag, frame.data() + number_offset_, sizeof(tag));
  if ((tag.magic & ~1U) != BENCH_MAGIC) return;
  __atomic_fetch_add(&packets_, 1, __ATOMIC_RELEASE);
  if (timing_) latencies_[tag.magic & 1].push_back(monotonic_ns() - sent_ns_[tag.number % BENCH_NUMBERS]);
}

std::uint64_t Peer::cpu_ns() const {
  return process_cpu_ns(process_);
}

}  // namespace twinstep::bench
