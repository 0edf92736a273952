// SPDX-License-Identifier: Apache-2.0
#include "io/netlink/netdev.hpp"

#include <bpf/libbpf.h>
#include <fcntl.h>
#include <linux/ethtool.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <optional>

#include "io/os_error.hpp"
#include "io/unique_fd.hpp"

namespace twinstep::io {
namespace {

constexpr const char* kVirtioDriver = "virtio_net";

Result<ifreq> request_for(const std::string& name) {
  ifreq request{};
  if (name.empty() || name.size() >= IFNAMSIZ)
    return fail("\"" + name + "\" is no network device's name: it must have 1 to " + std::to_string(IFNAMSIZ - 1) +
                " characters");
  std::copy(name.begin(), name.end(), request.ifr_name);
  return request;
}

Result<ifreq> run(const std::string& name, ifreq request, unsigned long command, const char* what) {
  const UniqueFd fd(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  if (!fd) return fail_os("cannot open a socket to ask for network devices");
  if (::ioctl(fd.get(), command, &request) != 0) return fail_os(std::string("cannot ") + what + " device " + name);
  return request;
}

Result<ifreq> ask(const std::string& name, unsigned long command, const char* what) {
  return request_for(name).and_then([&](const ifreq& request) { return run(name, request, command, what); });
}

/// An answer of the device's driver; nothing where it has none to such a question (SIOCETHTOOL).
template <typename Answer>
Result<std::optional<Answer>> ask_driver(const std::string& name, std::uint32_t command, const char* what) {
  auto request = request_for(name);
  if (!request) return tl::unexpected(request.error());
  Answer answer{};
  answer.cmd = command;
  request->ifr_data = reinterpret_cast<char*>(&answer);
  const auto done = run(name, *request, SIOCETHTOOL, what);
  if (!done && errno == EOPNOTSUPP) return std::nullopt;
  if (!done) return tl::unexpected(done.error());
  return answer;
}

Result<ethtool_channels> channels_of(const std::string& name) {
  return ask_driver<ethtool_channels>(name, ETHTOOL_GCHANNELS, "ask the queues of").map([](const auto& answer) {
    return answer.value_or(ethtool_channels{});
  });
}

/// Empty for a device without a driver's name.
Result<std::string> device_driver(const std::string& name) {
  return ask_driver<ethtool_drvinfo>(name, ETHTOOL_GDRVINFO, "ask the driver of").map([](const auto& answer) {
    return std::string(answer ? answer->driver : "");
  });
}

unsigned rx_queues(const ethtool_channels& channels) {
  return std::max(1U, channels.combined_count + channels.rx_count);
}

}  // namespace

std::string to_string(const MacAddress& mac) {
  std::array<char, 18> text{};
  std::snprintf(text.data(), text.size(), "%02x:%02x:%02x:%02x:%02x:%02x", mac[0], mac[1], mac[2], mac[3], mac[4],
                mac[5]);
  return text.data();
}

Result<int> device_index(const std::string& name) {
  return ask(name, SIOCGIFINDEX, "find").map([](const ifreq& answer) { return answer.ifr_ifindex; });
}

Result<MacAddress> device_mac(const std::string& name) {
  return ask(name, SIOCGIFHWADDR, "read the MAC address of").map([](const ifreq& answer) {
    MacAddress mac{};
    std::memcpy(mac.data(), answer.ifr_hwaddr.sa_data, mac.size());
    return mac;
  });
}

Result<unsigned> device_mtu(const std::string& name) {
  return ask(name, SIOCGIFMTU, "read the MTU of").map([](const ifreq& answer) {
    return static_cast<unsigned>(answer.ifr_mtu);
  });
}

Result<bool> device_carrier(const std::string& name) {
  return ask(name, SIOCGIFFLAGS, "read the flags of").map([](const ifreq& answer) {
    const auto flags = static_cast<unsigned>(answer.ifr_flags);
    return (flags & IFF_UP) != 0 && (flags & IFF_RUNNING) != 0;
  });
}

Result<unsigned> device_rx_queues(const std::string& name) {
  return channels_of(name).map(rx_queues);
}

Result<unsigned> device_rx_queues_with_xdp(const std::string& name) {
  const auto channels = channels_of(name);
  if (!channels) return tl::unexpected(channels.error());
  const auto driver = device_driver(name);
  if (!driver) return tl::unexpected(driver.error());
  const int cpus = libbpf_num_possible_cpus();
  const unsigned added = *driver == kVirtioDriver && cpus > 0 ? static_cast<unsigned>(cpus) : 0;
  const bool fits = channels->combined_count + added <= channels->max_combined;
  return rx_queues(*channels) + (fits ? added : 0);
}

Result<void> set_device_mtu(const std::string& name, unsigned mtu_bytes) {
  auto request = request_for(name);
  if (!request) return tl::unexpected(request.error());
  request->ifr_mtu = static_cast<int>(mtu_bytes);
  auto done = run(name, *request, SIOCSIFMTU, "set the MTU of");
  if (!done) return tl::unexpected(done.error());
  return {};
}

Result<void> set_device_up(const std::string& name) {
  auto flags = ask(name, SIOCGIFFLAGS, "read the flags of");
  if (!flags) return tl::unexpected(flags.error());
  flags->ifr_flags = static_cast<short>(flags->ifr_flags | IFF_UP);
  auto done = run(name, *flags, SIOCSIFFLAGS, "bring up");
  if (!done) return tl::unexpected(done.error());
  return {};
}

void turn_ipv6_off(const std::string& name) {
  const std::string path = "/proc/sys/net/ipv6/conf/" + name + "/disable_ipv6";
  const UniqueFd fd(::open(path.c_str(), O_WRONLY | O_CLOEXEC));
  if (fd) [[maybe_unused]]
    const auto written = ::write(fd.get(), "1", 1);
}

}  // namespace twinstep::io
