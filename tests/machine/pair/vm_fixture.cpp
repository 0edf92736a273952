// SPDX-License-Identifier: Apache-2.0
#include "vm_fixture.hpp"

#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <netinet/in.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <fstream>
#include <stdexcept>
#include <thread>

namespace twinstep::machine_test {
namespace {

constexpr const char* kBinary = "/usr/bin/qemu-system-x86_64";
constexpr const char* kGuestVariable = "TWINSTEP_GUEST_DIR";

void require(bool done, const char* what) {
  if (!done) throw std::runtime_error(std::string(what) + ": " + std::strerror(errno));
}

std::filesystem::path guest_dir() {
  const char* const value = std::getenv(kGuestVariable);
  return value == nullptr ? "" : value;
}

io::UniqueFd open_tap_here() {
  io::UniqueFd tap(::open("/dev/net/tun", O_RDWR | O_CLOEXEC));
  ifreq request{};
  std::strncpy(request.ifr_name, "tap0", sizeof(request.ifr_name) - 1);
  request.ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR;
  require(::ioctl(tap.get(), TUNSETIFF, &request) == 0, "tap");
  const io::UniqueFd control(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  request.ifr_flags = IFF_UP;
  require(::ioctl(control.get(), SIOCSIFFLAGS, &request) == 0, "tap up");
  return tap;
}

}  // namespace

std::optional<std::string> missing_for_qemu() {
  if (::geteuid() != 0) return "needs root: sudo ./test";
  if (::access(kBinary, X_OK) != 0) return "needs qemu-system-x86_64: apt install qemu-system-x86";
  return std::nullopt;
}

std::optional<std::string> missing_for_guest() {
  if (auto missing = missing_for_qemu()) return missing;
  if (guest_dir().empty()) return "TWINSTEP_GUEST_DIR is not set: tests/lab/guest/build DIR makes a guest";
  if (!std::filesystem::exists(guest_dir() / "vmlinuz"))
    return "there is no vmlinuz in TWINSTEP_GUEST_DIR " + guest_dir().string();
  return std::nullopt;
}

TempDir::TempDir() {
  std::string pattern = "/tmp/ts-machine-XXXXXX";
  require(::mkdtemp(pattern.data()) != nullptr, "mkdtemp");
  path_ = pattern;
}

TempDir::~TempDir() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

io::UniqueFd make_isolated_tap() {
  io::UniqueFd tap;
  // A namespace belongs to a thread, so this one's is left alone; the open tap keeps the new one.
  std::thread([&] {
    require(::unshare(CLONE_NEWNET) == 0, "network namespace");
    tap = open_tap_here();
  }).join();
  return tap;
}

qemu::VmSpec guest_spec(const std::filesystem::path& run_dir, const io::UniqueFd& tap, bool paused,
                        unsigned dirty_rate) {
  qemu::VmSpec spec;
  spec.name = "machine-test";
  spec.memory_bytes = kGuestBytes;
  spec.run_dir = run_dir;
  spec.paused = paused;
  spec.nics.push_back({tap.get(), "52:54:00:12:34:56"});
  spec.args = {
      "-accel",
      "tcg",
      "-cpu",
      "max",
      "-smp",
      "1,maxcpus=2",  // otherwise without memory barriers: tests/lab/twinlab/guest.py
      "-kernel",
      guest_dir() / "vmlinuz",
      "-initrd",
      guest_dir() / "initramfs",
      "-serial",
      "file:" + (run_dir / "serial.log").string(),
      "-append",
      "console=ttyS0 quiet panic=-1 twinstep.ip=10.99.0.2/24 twinstep.dirty=" + std::to_string(dirty_rate) + ",8192"};
  return spec;
}

qemu::VmSpec empty_spec(const std::filesystem::path& run_dir) {
  qemu::VmSpec spec;
  spec.name = "empty";
  spec.memory_bytes = 16U << 20;
  spec.run_dir = run_dir;
  spec.paused = true;
  spec.args = {"-accel", "tcg"};
  return spec;
}

std::optional<std::uint64_t> last_tick(const std::filesystem::path& run_dir) {
  std::ifstream serial(run_dir / "serial.log");
  std::optional<std::uint64_t> tick;
  for (std::string line; std::getline(serial, line);) {
    if (const auto at = line.find("tick "); at != std::string::npos)
      tick = std::strtoull(line.c_str() + at + 5, nullptr, 10);
  }
  return tick;
}

bool wait_tick(const std::filesystem::path& run_dir, std::uint64_t tick, std::chrono::seconds timeout) {
  const auto until = std::chrono::steady_clock::now() + timeout;
  while (last_tick(run_dir).value_or(0) < tick) {
    if (std::chrono::steady_clock::now() > until) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
  }
  return true;
}

Result<std::unique_ptr<memory::DirtySource>> watch(pid_t pid, const qemu::GuestRam& ram) {
  const auto tracking = qemu::probe_dirty_tracking();
  if (!tracking) return tl::unexpected(tracking.error());
  return qemu::watch_ram(*tracking, pid, ram.in_qemu(), false);
}

Result<Side> start_side(const qemu::VmSpec& spec) {
  auto process = qemu::launch(spec, kTimeout);
  if (!process) return tl::unexpected(process.error());
  auto features = qemu::probe(process->qmp());
  if (!features) return tl::unexpected(features.error());
  auto ram = qemu::GuestRam::open(process->pid(), spec.memory_bytes);
  if (!ram) return tl::unexpected(ram.error());
  auto dirty = watch(process->pid(), *ram);
  if (!dirty) return tl::unexpected(dirty.error());
  return Side{spec.run_dir, std::move(*process), *features, std::move(*ram), std::move(*dirty)};
}

std::pair<io::UniqueFd, io::UniqueFd> tcp_pair() {
  const io::UniqueFd listener(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t bytes = sizeof(address);
  auto* const generic = reinterpret_cast<sockaddr*>(&address);
  require(::bind(listener.get(), generic, bytes) == 0 && ::listen(listener.get(), 1) == 0, "listen");
  require(::getsockname(listener.get(), generic, &bytes) == 0, "getsockname");
  io::UniqueFd one(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  require(::connect(one.get(), generic, bytes) == 0, "connect");
  io::UniqueFd other(::accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC));
  require(static_cast<bool>(other), "accept");
  return {std::move(one), std::move(other)};
}

}  // namespace twinstep::machine_test
