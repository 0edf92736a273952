// SPDX-License-Identifier: Apache-2.0
#include "qemu-glue/dirty/uffd_dirty_source.hpp"

#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>

#include "memory/os_error.hpp"
#include "qemu-glue/dirty/proc_file.hpp"
#include "qemu-glue/dirty/remote_syscall.hpp"
#include "qemu-glue/dirty/scratch_page.hpp"
#include "qemu-glue/launch/pidfd.hpp"

namespace twinstep::qemu {
namespace {

using io::UniqueFd;
using memory::fail_errno;
using memory::kPageBytes;

constexpr std::chrono::milliseconds kHoldTimeout{1000};
constexpr std::size_t kRegionsPerScan = 16384;

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

Result<void> watch(const UniqueFd& uffd, std::span<const RemoteRange> ranges) {
  uffdio_api api{};
  api.api = UFFD_API;
  api.features = UFFD_FEATURE_WP_HUGETLBFS_SHMEM | kFeatureWriteProtectUnpopulated | kFeatureWriteProtectAsync;
  if (::ioctl(uffd.get(), UFFDIO_API, &api) != 0) {
    return fail_errno("this kernel lacks userfaultfd's asynchronous write protection (Linux 6.7 or newer)");
  }
  for (const RemoteRange& range : ranges) {
    uffdio_register registration{};
    registration.range = {range.address, range.bytes};
    registration.mode = UFFDIO_REGISTER_MODE_WP;
    if (::ioctl(uffd.get(), UFFDIO_REGISTER, &registration) != 0)
      return fail_errno("cannot watch the VM's RAM for writes");
  }
  return {};
}

Result<void> protect(const UniqueFd& uffd, std::span<const RemoteRange> ranges) {
  for (const RemoteRange& range : ranges) {
    uffdio_writeprotect protection{};
    protection.range = {range.address, range.bytes};
    protection.mode = UFFDIO_WRITEPROTECT_MODE_WP;
    if (::ioctl(uffd.get(), UFFDIO_WRITEPROTECT, &protection) != 0)
      return fail_errno("cannot write-protect the VM's RAM");
  }
  return {};
}

}  // namespace

Result<void> check_kernel_for_write_protection() {
  ScratchPage page;
  if (!page.valid()) return fail_errno("cannot map a page of memory");
  const RemoteRange range{page.number(), kPageBytes};
  UniqueFd uffd(static_cast<int>(::syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK | UFFD_USER_MODE_ONLY)));
  if (!uffd) return fail_errno("no userfaultfd");
  auto pagemap = open_proc_file(::getpid(), "pagemap", O_RDONLY);
  if (!pagemap) return tl::unexpected(pagemap.error());
  if (auto watched = watch(uffd, {&range, 1}); !watched) return watched;
  if (auto protected_page = protect(uffd, {&range, 1}); !protected_page) return protected_page;
  page.write();
  PageRegion region{};
  PagemapScanArgument argument{};
  argument.size = sizeof(argument);
  argument.flags = kScanWriteProtectMatching | kScanCheckWriteProtectAsync;
  argument.start = page.number();
  argument.end = page.number() + kPageBytes;
  argument.vec = reinterpret_cast<std::uintptr_t>(&region);
  argument.vec_len = 1;
  argument.category_mask = kPageIsWritten;
  argument.return_mask = kPageIsWritten;
  if (::ioctl(pagemap->get(), kPagemapScan, &argument) != 1)
    return fail_errno("this kernel lacks PAGEMAP_SCAN, by which changed memory is found (Linux 6.7 or newer)");
  return {};
}

Result<std::unique_ptr<memory::DirtySource>> UffdDirtySource::create(pid_t pid, std::span<const RemoteRange> ram,
                                                                     bool live) {
  auto pagemap = open_proc_file(pid, "pagemap", O_RDONLY);
  if (!pagemap) return tl::unexpected(pagemap.error());
  auto uffd = create_in(pid);
  if (!uffd) return tl::unexpected(uffd.error());
  if (auto watched = watch(*uffd, ram); !watched) return tl::unexpected(watched.error());
  return std::unique_ptr<memory::DirtySource>(new UffdDirtySource(ram, live, std::move(*uffd), std::move(*pagemap)));
}

UffdDirtySource::UffdDirtySource(std::span<const RemoteRange> ram, bool live, UniqueFd uffd, UniqueFd pagemap)
    : ram_(ram.begin(), ram.end()),
      live_(live),
      uffd_(std::move(uffd)),
      pagemap_(std::move(pagemap)),
      regions_(kRegionsPerScan) {}

Result<void> UffdDirtySource::arm() {
  return protect(uffd_, ram_);
}

Result<void> UffdDirtySource::scan(memory::PageBitmap& out) {
  return walk(out, kScanWriteProtectMatching | kScanCheckWriteProtectAsync);
}

Result<void> UffdDirtySource::peek(memory::PageBitmap& out) {
  return walk(out, 0);
}

Result<void> UffdDirtySource::walk(memory::PageBitmap& out, std::uint64_t flags) {
  std::size_t first = 0;
  for (const RemoteRange& range : ram_) {
    PagemapScanArgument argument{};
    argument.size = sizeof(argument);
    argument.flags = flags;
    argument.start = range.address;
    argument.end = range.address + range.bytes;
    argument.vec = reinterpret_cast<std::uintptr_t>(regions_.data());
    argument.vec_len = regions_.size();
    argument.category_mask = kPageIsWritten;
    argument.return_mask = kPageIsWritten;
    while (argument.start < argument.end) {
      const int found = ::ioctl(pagemap_.get(), kPagemapScan, &argument);
      if (found < 0 && errno == EINTR) continue;
      if (found < 0) return fail_errno("cannot scan the VM's RAM for changed pages");
      for (std::size_t i = 0; i < static_cast<std::size_t>(found); ++i) {
        out.set_range(first + (regions_[i].start - range.address) / kPageBytes,
                      first + (regions_[i].end - range.address) / kPageBytes);
      }
      argument.start = argument.walk_end;
    }
    first += range.bytes / kPageBytes;
  }
  return {};
}

}  // namespace twinstep::qemu
