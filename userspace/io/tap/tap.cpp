// SPDX-License-Identifier: Apache-2.0
#include "io/tap/tap.hpp"

#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <array>

#include "bpf/abi/twinstep_abi.h"
#include "io/netlink/netdev.hpp"
#include "io/os_error.hpp"

namespace twinstep::io {
namespace {

/// With Ethernet header, VLAN tags and a virtio header.
constexpr std::size_t kFrameBytesMax = Tap::kMtuBytesMax + 64;
/// Of a frame with two VLAN tags; a device allows for one by itself.
constexpr unsigned kTagBytes = 4;

/// Bytes of the virtio header in front of each frame. QEMU chooses its size when the guest's driver starts.
std::size_t header_bytes(const UniqueFd& fd) {
  int bytes = 0;
  return ::ioctl(fd.get(), TUNGETVNETHDRSZ, &bytes) == 0 ? static_cast<std::size_t>(bytes) : 0;
}

constexpr std::size_t kNobodysBytes = 60;
constexpr std::size_t kTypeAt = 12;

/// An Ethernet frame that no guest sends or takes in: from and to nobody, of the type that only the link knows.
constexpr std::array<std::byte, kNobodysBytes> kNobodys = [] {
  std::array<std::byte, kNobodysBytes> frame{};
  frame[kTypeAt] = std::byte{TS_ETHERTYPE >> 8};
  frame[kTypeAt + 1] = std::byte{TS_ETHERTYPE & 0xff};
  return frame;
}();

}  // namespace

const char* to_string(GuestOffloads offloads) {
  return offloads == GuestOffloads::on ? "on" : "off";
}

Result<Tap> Tap::create(const std::string& name, unsigned mtu_bytes, GuestOffloads offloads) {
  if (name.empty() || name.size() >= IFNAMSIZ)
    return fail("\"" + name + "\" is no tap's name: it must have 1 to " + std::to_string(IFNAMSIZ - 1) + " characters");
  if (mtu_bytes < kMtuBytesMin || mtu_bytes > kMtuBytesMax)
    return fail("the MTU of tap " + name + " must be " + std::to_string(kMtuBytesMin) + " to " +
                std::to_string(kMtuBytesMax) + " bytes, not " + std::to_string(mtu_bytes));
  UniqueFd fd(::open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC));
  if (!fd) return fail_os("cannot open /dev/net/tun (is the tun module loaded, and is this root?)");
  ifreq request{};
  std::copy(name.begin(), name.end(), request.ifr_name);
  const bool stage_wanted = offloads == GuestOffloads::on;
  request.ifr_flags = static_cast<short>(IFF_TAP | IFF_NO_PI | (stage_wanted ? IFF_VNET_HDR : 0));
  if (::ioctl(fd.get(), TUNSETIFF, &request) != 0) return fail_os("cannot create tap " + name);
  turn_ipv6_off(name);
  if (auto done = set_device_mtu(name, mtu_bytes + kTagBytes); !done) return tl::unexpected(done.error());
  std::optional<OffloadStage> stage;
  if (stage_wanted) {
    auto made = OffloadStage::create(name, mtu_bytes);
    if (!made) return tl::unexpected(made.error());
    stage.emplace(std::move(*made));
  }
  if (auto done = set_device_up(name); !done) return tl::unexpected(done.error());
  return Tap(name, mtu_bytes, std::move(fd), std::move(stage));
}

bool Tap::send_as_guest(std::span<const std::byte> frame) const {
  std::vector<std::byte> bytes(stage_ ? header_bytes(fd_) : 0);
  bytes.insert(bytes.end(), frame.begin(), frame.end());
  return ::write(fd_.get(), bytes.data(), bytes.size()) == static_cast<ssize_t>(bytes.size());
}

bool Tap::send_mark() const {
  return stage_ && send_as_guest(kNobodys);
}

bool Tap::is_mark(std::span<const std::byte> frame) {
  return std::ranges::equal(frame, kNobodys);
}

std::span<const std::byte> Tap::decoy() {
  return kNobodys;
}

bool Tap::unread() const {
  pollfd entry{fd_.get(), POLLIN, 0};
  return ::poll(&entry, 1, 0) == 1 && (entry.revents & POLLIN) != 0;
}

std::vector<std::vector<std::byte>> Tap::drain(std::size_t frames_max) const {
  std::vector<std::vector<std::byte>> frames;
  std::array<std::byte, kFrameBytesMax> buffer;
  const std::size_t header = stage_ ? header_bytes(fd_) : 0;
  while (frames.size() < frames_max) {
    const auto bytes = ::read(fd_.get(), buffer.data(), buffer.size());
    if (bytes < static_cast<ssize_t>(header) || bytes == 0) break;
    const auto frame = std::span(buffer).first(static_cast<std::size_t>(bytes)).subspan(header);
    if (!std::ranges::equal(frame, kNobodys)) frames.emplace_back(frame.begin(), frame.end());
  }
  return frames;
}

}  // namespace twinstep::io
