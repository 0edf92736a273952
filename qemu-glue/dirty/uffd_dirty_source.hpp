// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "core/result.hpp"
#include "io/unique_fd.hpp"
#include "memory/dirty_source.hpp"
#include "qemu-glue/dirty/guest_ram.hpp"
#include "qemu-glue/dirty/pagemap_scan.hpp"

namespace twinstep::qemu {

/// Dirty pages by asynchronous write protection: a userfaultfd of QEMU's address space, made by QEMU itself at our
/// request and owned by this process, and the PAGEMAP_SCAN ioctl. QEMU knows nothing of it; its first write to a
/// watched page costs a page fault. A page that the kernel writes through a pin taken before a scan (direct I/O) is
/// missed by that scan and the next one.
class UffdDirtySource final : public memory::DirtySource {
 public:
  /// `live`: whether scan() may be used while the VM runs, see uses_direct_io(). Needs Linux 6.7 or newer and
  /// CAP_SYS_PTRACE; an Error names what is missing. Halts QEMU's main thread for about 1 ms.
  static Result<std::unique_ptr<memory::DirtySource>> create(pid_t pid, std::span<const RemoteRange> ram, bool live);

  Result<void> arm() override;
  Result<void> scan(memory::PageBitmap& out) override;
  Result<void> peek(memory::PageBitmap& out) override;
  bool scans_live() const override { return live_; }

 private:
  UffdDirtySource(std::span<const RemoteRange> ram, bool live, io::UniqueFd uffd, io::UniqueFd pagemap);
  Result<void> walk(memory::PageBitmap& out, std::uint64_t flags);

  std::vector<RemoteRange> ram_;
  bool live_;
  io::UniqueFd uffd_;  // closing it ends the watch
  io::UniqueFd pagemap_;
  std::vector<PageRegion> regions_;
};

/// Says whether this kernel can do it, by doing it to a page of this process; an Error names what it lacks.
Result<void> check_kernel_for_write_protection();

}  // namespace twinstep::qemu
