// SPDX-License-Identifier: Apache-2.0
#include "io/tap/tap.hpp"

#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <poll.h>
#include <sys/ioctl.h>

#include <algorithm>
#include <array>

#include "io/netlink/netdev.hpp"
#include "io/os_error.hpp"

namespace twinstep::io {
namespace {

constexpr unsigned kMtuBytesMin = 576;
constexpr unsigned kMtuBytesMax = 3500;
constexpr std::size_t kFrameBytesMax = 4096;

/// A kernel without IPv6 has no such file; then there is nothing to turn off.
void turn_ipv6_off(const std::string& name) {
  const std::string path = "/proc/sys/net/ipv6/conf/" + name + "/disable_ipv6";
  const UniqueFd fd(::open(path.c_str(), O_WRONLY | O_CLOEXEC));
  if (fd) [[maybe_unused]]
    const auto written = ::write(fd.get(), "1", 1);
}

}  // namespace

Result<Tap> Tap::create(const std::string& name, unsigned mtu_bytes) {
  if (name.empty() || name.size() >= IFNAMSIZ)
    return fail("\"" + name + "\" is no tap's name: it must have 1 to " + std::to_string(IFNAMSIZ - 1) + " characters");
  if (mtu_bytes < kMtuBytesMin || mtu_bytes > kMtuBytesMax)
    return fail("the MTU of tap " + name + " must be " + std::to_string(kMtuBytesMin) + " to " +
                std::to_string(kMtuBytesMax) + " bytes, not " + std::to_string(mtu_bytes));
  UniqueFd fd(::open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC));
  if (!fd) return fail_os("cannot open /dev/net/tun (is the tun module loaded, and is this root?)");
  ifreq request{};
  std::copy(name.begin(), name.end(), request.ifr_name);
  request.ifr_flags = IFF_TAP | IFF_NO_PI;
  if (::ioctl(fd.get(), TUNSETIFF, &request) != 0) return fail_os("cannot create tap " + name);
  turn_ipv6_off(name);
  if (auto done = set_device_mtu(name, mtu_bytes); !done) return tl::unexpected(done.error());
  if (auto done = set_device_up(name); !done) return tl::unexpected(done.error());
  return Tap(name, std::move(fd));
}

bool Tap::has_unread() const {
  pollfd entry{fd_.get(), POLLIN, 0};
  return ::poll(&entry, 1, 0) == 1 && (entry.revents & POLLIN) != 0;
}

std::vector<std::vector<std::byte>> Tap::drain(std::size_t frames_max) const {
  std::vector<std::vector<std::byte>> frames;
  std::array<std::byte, kFrameBytesMax> buffer;
  while (frames.size() < frames_max) {
    const auto bytes = ::read(fd_.get(), buffer.data(), buffer.size());
    if (bytes <= 0) break;
    frames.emplace_back(buffer.begin(), buffer.begin() + bytes);
  }
  return frames;
}

}  // namespace twinstep::io
