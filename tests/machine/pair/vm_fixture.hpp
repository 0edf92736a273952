// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "core/result.hpp"
#include "io/unique_fd.hpp"
#include "qemu-glue/dirty/guest_ram.hpp"
#include "qemu-glue/dirty/tracking.hpp"
#include "qemu-glue/launch/probe.hpp"
#include "qemu-glue/launch/process.hpp"

namespace twinstep::machine_test {

inline constexpr std::chrono::milliseconds kTimeout{10'000};
inline constexpr std::uint64_t kGuestBytes = 160U << 20;

/// Why tests that need root and QEMU can't run here; nothing: they can.
std::optional<std::string> missing_for_qemu();
/// Why tests that boot the guest can't run here; nothing: they can.
std::optional<std::string> missing_for_guest();

/// A directory that goes away with the object.
class TempDir {
 public:
  TempDir();
  ~TempDir();
  TempDir(const TempDir&) = delete;
  TempDir& operator=(const TempDir&) = delete;
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

/// A tap, up, in a network namespace of its own, which ends with it.
io::UniqueFd make_isolated_tap();

/// A VM with the test guest: serial console to run_dir/serial.log, and a load that writes `dirty_rate` pages per
/// second.
qemu::VmSpec guest_spec(const std::filesystem::path& run_dir, const io::UniqueFd& tap, bool paused,
                        unsigned dirty_rate = 2000);
/// A VM without anything to run.
qemu::VmSpec empty_spec(const std::filesystem::path& run_dir);

/// The latest tick that the guest printed on its serial console; nothing: none.
std::optional<std::uint64_t> last_tick(const std::filesystem::path& run_dir);
bool wait_tick(const std::filesystem::path& run_dir, std::uint64_t tick, std::chrono::seconds timeout);

/// Watches a VM's RAM as this kernel can.
Result<std::unique_ptr<memory::DirtySource>> watch(pid_t pid, const qemu::GuestRam& ram);

/// A running VM and all that a checkpoint needs of it.
struct Side {
  std::filesystem::path run_dir;
  qemu::QemuProcess process;
  qemu::QemuFeatures features;
  qemu::GuestRam ram;
  std::unique_ptr<memory::DirtySource> dirty;
};
Result<Side> start_side(const qemu::VmSpec& spec);

/// Both ends of a TCP connection over the loopback device.
std::pair<io::UniqueFd, io::UniqueFd> tcp_pair();

}  // namespace twinstep::machine_test
