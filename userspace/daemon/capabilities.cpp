// SPDX-License-Identifier: Apache-2.0
#include "daemon/capabilities.hpp"

#include <bpf/libbpf.h>
#include <linux/capability.h>
#include <net/if.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdint>
#include <cstdlib>
#include <fstream>
#include <string>
#include <string_view>

#include "io/os_error.hpp"
#include "io/unique_fd.hpp"
#include "qemu-glue/dirty/tracking.hpp"

namespace twinstep::daemon {
namespace {

using io::fail_os;
using io::UniqueFd;

std::uint64_t effective_capabilities() {
  std::ifstream status("/proc/self/status");
  constexpr std::string_view kKey = "CapEff:\t";
  std::uint64_t set = 0;
  for (std::string line; std::getline(status, line);) {
    if (line.starts_with(kKey)) std::from_chars(line.data() + kKey.size(), line.data() + line.size(), set, 16);
  }
  return set;
}

Result<void> check_privileges() {
  struct Needed {
    unsigned number;
    const char* name;
    const char* purpose;
  };
  constexpr std::array kNeeded = {
      Needed{CAP_NET_ADMIN, "CAP_NET_ADMIN", "to attach its programs to network devices"},
      Needed{CAP_NET_RAW, "CAP_NET_RAW", "to take and send Ethernet frames"},
      Needed{CAP_BPF, "CAP_BPF", "to load its programs"},
      Needed{CAP_SYS_PTRACE, "CAP_SYS_PTRACE", "to watch the memory of the VMs"},
  };
  const std::uint64_t set = effective_capabilities();
  for (const auto& [number, name, purpose] : kNeeded) {
    if (((set >> number) & 1) == 0) return fail(std::string("twinstepd needs root: it lacks ") + name + " " + purpose);
  }
  return {};
}

Result<void> check_dirty_tracking() {
  const auto tracking = qemu::probe_dirty_tracking();
  if (!tracking) return tl::unexpected(tracking.error());
  return {};
}

Result<void> check_packet_plane() {
  if (libbpf_probe_bpf_prog_type(BPF_PROG_TYPE_XDP, nullptr) != 1)
    return fail("this kernel loads no XDP programs: it must be built with CONFIG_BPF_SYSCALL, and not be locked down");
  const UniqueFd socket(::socket(AF_XDP, SOCK_RAW | SOCK_CLOEXEC, 0));
  if (!socket) return fail_os("this kernel has no AF_XDP sockets, it must be built with CONFIG_XDP_SOCKETS");
  return {};
}

Result<void> check_device(const std::string& device, const std::string& key) {
  if (::if_nametoindex(device.c_str()) == 0)
    return fail("there is no network device " + device + ": correct " + key + " in the configuration");
  return {};
}

/// Whether `program` can be run: a path, or a name that is looked up in PATH.
bool can_run(const std::string& program) {
  if (program.find('/') != std::string::npos) return ::access(program.c_str(), X_OK) == 0;
  const char* path = std::getenv("PATH");
  std::string_view rest = path == nullptr ? "/usr/bin:/bin" : path;
  while (!rest.empty()) {
    const auto directory = rest.substr(0, rest.find(':'));
    if (::access((std::string(directory) + "/" + program).c_str(), X_OK) == 0) return true;
    rest.remove_prefix(std::min(rest.size(), directory.size() + 1));
  }
  return false;
}

Result<void> check_host(const Config& config) {
  if (auto link = check_device(config.link.device, "link.device"); !link) return link;
  for (const auto& vm : config.vms) {
    for (const auto& nic : vm.nics)
      if (auto uplink = check_device(nic.uplink, "uplink of VM '" + vm.name + "'"); !uplink) return uplink;
    if (!can_run(vm.qemu))
      return fail("there is no program " + vm.qemu + ": install QEMU, or correct qemu of VM '" + vm.name +
                  "' in the configuration");
  }
  return {};
}

}  // namespace

Result<void> check_capabilities(const Config& config) {
  return check_privileges().and_then(check_dirty_tracking).and_then(check_packet_plane).and_then([&] {
    return check_host(config);
  });
}

}  // namespace twinstep::daemon
