// SPDX-License-Identifier: Apache-2.0
#include "qemu-glue/dirty/uffd_dirty_source.hpp"

#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>

#include <cerrno>
#include <chrono>
#include <string>

#include "memory/os_error.hpp"
#include "qemu-glue/dirty/remote_syscall.hpp"
#include "qemu-glue/launch/pidfd.hpp"

namespace twinstep::qemu {
namespace {

using io::UniqueFd;
using memory::fail_errno;
using memory::kPageBytes;

constexpr std::chrono::milliseconds kHoldTimeout{1000};
constexpr std::size_t kRegionsPerScan = 16384;

Result<UniqueFd> open_pagemap(pid_t pid) {
  const std::string path = "/proc/" + std::to_string(pid) + "/pagemap";
  UniqueFd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!file) return fail_errno("cannot open " + path);
  return file;
}

// Takes a copy of a descriptor of another process.
Result<UniqueFd> take_fd(pid_t pid, int remote_fd) {
  const UniqueFd process = open_pidfd(pid);
  if (!process) return fail_errno("cannot open the process of QEMU");
  UniqueFd fd = take_remote_fd(process, remote_fd);
  if (!fd) return fail_errno("cannot take the userfaultfd out of QEMU");
  return fd;
}

// Only the process that creates it can be watched by a userfaultfd, so QEMU has to.
Result<UniqueFd> create_in(pid_t pid) {
  auto remote = RemoteSyscalls::attach(pid, kHoldTimeout);
  if (!remote) return tl::unexpected(remote.error());
  const std::uint64_t flags = O_CLOEXEC | O_NONBLOCK | UFFD_USER_MODE_ONLY;
  const auto remote_fd = remote->call("userfaultfd", SYS_userfaultfd, {flags, 0, 0});
  if (!remote_fd) return tl::unexpected(remote_fd.error());
  auto uffd = take_fd(pid, static_cast<int>(*remote_fd));
  const auto closed = remote->call("close", SYS_close, {static_cast<std::uint64_t>(*remote_fd), 0, 0});
  if (uffd && !closed) return tl::unexpected(closed.error());
  return uffd;
}

Result<void> watch(const UniqueFd& uffd, RemoteRange ram) {
  uffdio_api api{};
  api.api = UFFD_API;
  api.features = UFFD_FEATURE_WP_HUGETLBFS_SHMEM | kFeatureWriteProtectUnpopulated | kFeatureWriteProtectAsync;
  if (::ioctl(uffd.get(), UFFDIO_API, &api) != 0) {
    return fail_errno("this kernel lacks userfaultfd's asynchronous write protection (Linux 6.7 or newer)");
  }
  uffdio_register registration{};
  registration.range = {ram.address, ram.bytes};
  registration.mode = UFFDIO_REGISTER_MODE_WP;
  if (::ioctl(uffd.get(), UFFDIO_REGISTER, &registration) != 0)
    return fail_errno("cannot watch the VM's RAM for writes");
  return {};
}

}  // namespace

Result<void> check_kernel_for_dirty_pages() {
  const UniqueFd pagemap(::open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC));
  if (!pagemap) return fail_errno("cannot open /proc/self/pagemap");
  PagemapScanArgument argument{};
  argument.size = sizeof(argument);
  argument.category_mask = kPageIsWritten;
  argument.return_mask = kPageIsWritten;
  // An empty range: known or not is all that's asked.
  if (::ioctl(pagemap.get(), kPagemapScan, &argument) < 0) {
    return fail_errno("this kernel lacks PAGEMAP_SCAN, by which changed memory is found (Linux 6.7 or newer)");
  }
  return {};
}

Result<std::unique_ptr<memory::DirtySource>> UffdDirtySource::create(pid_t pid, RemoteRange ram) {
  if (auto able = check_kernel_for_dirty_pages(); !able) return tl::unexpected(able.error());
  auto pagemap = open_pagemap(pid);
  if (!pagemap) return tl::unexpected(pagemap.error());
  auto uffd = create_in(pid);
  if (!uffd) return tl::unexpected(uffd.error());
  if (auto watched = watch(*uffd, ram); !watched) return tl::unexpected(watched.error());
  return std::unique_ptr<memory::DirtySource>(new UffdDirtySource(ram, std::move(*uffd), std::move(*pagemap)));
}

UffdDirtySource::UffdDirtySource(RemoteRange ram, UniqueFd uffd, UniqueFd pagemap)
    : ram_(ram), uffd_(std::move(uffd)), pagemap_(std::move(pagemap)), regions_(kRegionsPerScan) {}

Result<void> UffdDirtySource::arm() {
  uffdio_writeprotect protection{};
  protection.range = {ram_.address, ram_.bytes};
  protection.mode = UFFDIO_WRITEPROTECT_MODE_WP;
  if (::ioctl(uffd_.get(), UFFDIO_WRITEPROTECT, &protection) != 0)
    return fail_errno("cannot write-protect the VM's RAM");
  return {};
}

Result<void> UffdDirtySource::scan(memory::PageBitmap& out) {
  PagemapScanArgument argument{};
  argument.size = sizeof(argument);
  argument.flags = kScanWriteProtectMatching | kScanCheckWriteProtectAsync;
  argument.start = ram_.address;
  argument.end = ram_.address + ram_.bytes;
  argument.vec = reinterpret_cast<std::uintptr_t>(regions_.data());
  argument.vec_len = regions_.size();
  argument.category_mask = kPageIsWritten;
  argument.return_mask = kPageIsWritten;
  while (argument.start < argument.end) {
    const int found = ::ioctl(pagemap_.get(), kPagemapScan, &argument);
    if (found < 0 && errno == EINTR) continue;
    if (found < 0) return fail_errno("cannot scan the VM's RAM for changed pages");
    for (std::size_t i = 0; i < static_cast<std::size_t>(found); ++i) {
      out.set_range((regions_[i].start - ram_.address) / kPageBytes, (regions_[i].end - ram_.address) / kPageBytes);
    }
    argument.start = argument.walk_end;
  }
  return {};
}

}  // namespace twinstep::qemu
