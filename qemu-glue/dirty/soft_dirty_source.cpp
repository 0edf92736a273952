// SPDX-License-Identifier: Apache-2.0
#include "qemu-glue/dirty/soft_dirty_source.hpp"

#include <fcntl.h>
#include <linux/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>

#include "memory/os_error.hpp"
#include "qemu-glue/dirty/proc_file.hpp"
#include "qemu-glue/dirty/remote_syscall.hpp"
#include "qemu-glue/dirty/scratch_page.hpp"

namespace twinstep::qemu {
namespace {

using io::UniqueFd;
using memory::fail_errno;
using memory::kPageBytes;

constexpr std::chrono::milliseconds kHoldTimeout{1000};
constexpr std::size_t kEntriesPerRead = 16384;
constexpr std::uint64_t kSoftDirty = std::uint64_t{1} << 55;
constexpr char kClearSoftDirty = '4';

Result<void> clear(const UniqueFd& clear_refs) {
  if (::pwrite(clear_refs.get(), &kClearSoftDirty, 1, 0) != 1)
    return fail_errno("cannot start watching the VM's RAM for writes (clear_refs)");
  return {};
}

Result<bool> is_dirty(const UniqueFd& pagemap, const ScratchPage& page) {
  std::uint64_t entry = 0;
  const auto at = static_cast<off_t>(page.number() / kPageBytes * sizeof(entry));
  if (::pread(pagemap.get(), &entry, sizeof(entry), at) != sizeof(entry)) return fail_errno("cannot read a pagemap");
  return (entry & kSoftDirty) != 0;
}

// Only the process itself can lock its memory, so QEMU has to. A process that may not is held no better than without.
Result<void> lock_on_fault(pid_t pid, std::span<const RemoteRange> ram) {
  auto remote = RemoteSyscalls::attach(pid, kHoldTimeout);
  if (!remote) return tl::unexpected(remote.error());
  for (const RemoteRange& range : ram) {
    const auto locked = remote->call("mlock2", SYS_mlock2, {range.address, range.bytes, MLOCK_ONFAULT});
    if (!locked) return tl::unexpected(locked.error());
  }
  return {};
}

}  // namespace

Result<void> check_kernel_for_soft_dirty() {
  ScratchPage page;
  if (!page.valid()) return fail_errno("cannot map a page of memory");
  const auto pagemap = open_proc_file(::getpid(), "pagemap", O_RDONLY);
  if (!pagemap) return tl::unexpected(pagemap.error());
  const auto clear_refs = open_proc_file(::getpid(), "clear_refs", O_WRONLY);
  if (!clear_refs) return tl::unexpected(clear_refs.error());
  if (auto cleared = clear(*clear_refs); !cleared) return cleared;
  const auto before = is_dirty(*pagemap, page);
  page.write();
  const auto after = is_dirty(*pagemap, page);
  if (!before || !after) return tl::unexpected(before ? after.error() : before.error());
  if (*before || !*after) return fail("no soft-dirty bits: CONFIG_MEM_SOFT_DIRTY is missing");
  return {};
}

Result<std::unique_ptr<memory::DirtySource>> SoftDirtySource::create(pid_t pid, std::span<const RemoteRange> ram) {
  auto pagemap = open_proc_file(pid, "pagemap", O_RDONLY);
  if (!pagemap) return tl::unexpected(pagemap.error());
  auto clear_refs = open_proc_file(pid, "clear_refs", O_WRONLY);
  if (!clear_refs) return tl::unexpected(clear_refs.error());
  if (auto locked = lock_on_fault(pid, ram); !locked) return tl::unexpected(locked.error());
  return std::unique_ptr<memory::DirtySource>(new SoftDirtySource(ram, std::move(*pagemap), std::move(*clear_refs)));
}

SoftDirtySource::SoftDirtySource(std::span<const RemoteRange> ram, UniqueFd pagemap, UniqueFd clear_refs)
    : ram_(ram.begin(), ram.end()),
      pagemap_(std::move(pagemap)),
      clear_refs_(std::move(clear_refs)),
      entries_(kEntriesPerRead) {}

Result<void> SoftDirtySource::arm() {
  return clear(clear_refs_);
}

Result<void> SoftDirtySource::scan(memory::PageBitmap& out) {
  if (auto seen = peek(out); !seen) return seen;
  return clear(clear_refs_);
}

Result<void> SoftDirtySource::peek(memory::PageBitmap& out) {
  std::size_t first = 0;
  for (const RemoteRange& range : ram_) {
    const std::size_t pages = range.bytes / kPageBytes;
    for (std::size_t done = 0; done < pages;) {
      const std::size_t wanted = std::min(pages - done, entries_.size()) * sizeof(std::uint64_t);
      const auto at = static_cast<off_t>((range.address / kPageBytes + done) * sizeof(std::uint64_t));
      const ssize_t got = ::pread(pagemap_.get(), entries_.data(), wanted, at);
      if (got < 0 && errno == EINTR) continue;
      if (got < static_cast<ssize_t>(sizeof(std::uint64_t))) return fail_errno("cannot read QEMU's pagemap");
      const std::size_t count = static_cast<std::size_t>(got) / sizeof(std::uint64_t);
      for (std::size_t i = 0; i < count; ++i) {
        if ((entries_[i] & kSoftDirty) != 0) out.set(first + done + i);
      }
      done += count;
    }
    first += pages;
  }
  return {};
}

}  // namespace twinstep::qemu
