// SPDX-License-Identifier: Apache-2.0
#include "delay_line.hpp"

#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

#include "io/os_error.hpp"
#include "tests/lab/client/system.hpp"
#include "tests/lab/lossy/lossy.h"

namespace twinstep::lab {
namespace {

constexpr std::size_t kFrameBytesMax = 65536;
constexpr std::uint64_t kPollNsMax = 50 * kNsPerMs;

ifreq request_for(const std::string& device) {
  ifreq request{};
  device.copy(request.ifr_name, IFNAMSIZ - 1);
  return request;
}

/// A tap that is up and takes what the port takes.
Result<io::UniqueFd> make_tap(const std::string& name, const std::string& port) {
  io::UniqueFd tap(::open("/dev/net/tun", O_RDWR | O_CLOEXEC | O_NONBLOCK));
  ifreq request = request_for(name);
  request.ifr_flags = IFF_TAP | IFF_NO_PI;
  if (!tap || ::ioctl(tap.get(), TUNSETIFF, &request) != 0) return io::fail_os("cannot make the tap " + name);
  const io::UniqueFd control(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  ifreq mtu = request_for(port);
  if (::ioctl(control.get(), SIOCGIFMTU, &mtu) != 0) return io::fail_os("cannot read the MTU of " + port);
  name.copy(mtu.ifr_name, IFNAMSIZ - 1);
  mtu.ifr_name[name.size()] = '\0';
  request.ifr_flags = IFF_UP;
  if (::ioctl(control.get(), SIOCSIFMTU, &mtu) != 0 || ::ioctl(control.get(), SIOCSIFFLAGS, &request) != 0)
    return io::fail_os("cannot bring up the tap " + name);
  return tap;
}

Result<io::UniqueFd> open_port(const std::string& port) {
  io::UniqueFd out(::socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0));
  const int mark = LOSSY_MARK;
  sockaddr_ll address{};
  address.sll_family = AF_PACKET;
  address.sll_ifindex = static_cast<int>(::if_nametoindex(port.c_str()));
  if (!out || ::setsockopt(out.get(), SOL_SOCKET, SO_MARK, &mark, sizeof(mark)) != 0 ||
      ::bind(out.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0)
    return io::fail_os("cannot send by " + port);
  return out;
}

}  // namespace

Result<unsigned> DelayLine::add_port(const std::string& port) {
  const std::string name = "delay" + std::to_string(ports_.size());
  auto tap = make_tap(name, port);
  if (!tap) return tl::unexpected(tap.error());
  auto out = open_port(port);
  if (!out) return tl::unexpected(out.error());
  ports_.push_back({std::move(*tap), std::move(*out)});
  return ::if_nametoindex(name.c_str());
}

void DelayLine::run(const std::function<bool()>& stopped) {
  std::vector<pollfd> entries;
  for (const Port& port : ports_) entries.push_back({port.tap.get(), POLLIN, 0});
  while (!stopped()) {
    const std::uint64_t now_ns = monotonic_ns();
    const std::uint64_t due_ns = delayed_.empty() ? now_ns + kPollNsMax : delayed_.top().due_ns;
    const std::uint64_t wait_ns = due_ns > now_ns ? std::min(due_ns - now_ns, kPollNsMax) : 0;
    const timespec timeout{.tv_sec = 0, .tv_nsec = static_cast<long>(wait_ns)};
    ::ppoll(entries.data(), entries.size(), &timeout, nullptr);
    for (std::size_t i = 0; i < entries.size(); ++i)
      if (entries[i].revents != 0) take(i);
    send_due(monotonic_ns());
  }
}

void DelayLine::take(std::size_t port) {
  static std::array<unsigned char, kFrameBytesMax> buffer;
  std::uniform_int_distribution<std::uint64_t> delay_ns(kDelayNsMin, kDelayNsMax);
  for (;;) {
    const ssize_t bytes = ::read(ports_[port].tap.get(), buffer.data(), buffer.size());
    if (bytes <= 0) return;
    if (delayed_.size() == kFramesMax) {
      ++frames_lost_;
      continue;
    }
    delayed_.push({monotonic_ns() + delay_ns(random_), port, {buffer.begin(), buffer.begin() + bytes}});
  }
}

void DelayLine::send_due(std::uint64_t now_ns) {
  for (; !delayed_.empty() && delayed_.top().due_ns <= now_ns; delayed_.pop()) {
    const Delayed& next = delayed_.top();
    if (::send(ports_[next.port].out.get(), next.frame.data(), next.frame.size(), 0) < 0) ++frames_lost_;
  }
}

}  // namespace twinstep::lab
