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

namespace twinstep::qemu {

/// Dirty pages by the soft-dirty bits of QEMU's page tables (the kernel's admin-guide/mm/soft-dirty.rst): bit 55 of
/// /proc/PID/pagemap, cleared through /proc/PID/clear_refs for the whole process. Reading and clearing are two steps,
/// so scan() needs a stopped VM. The bit of a page is lost when the kernel takes the page away, so the RAM is locked
/// into memory as it gets used (mlock2's MLOCK_ONFAULT, by QEMU at our request).
class SoftDirtySource final : public memory::DirtySource {
 public:
  /// Needs CAP_SYS_PTRACE and, in QEMU, the right to lock memory (root has it). Halts QEMU's main thread for about
  /// 1 ms.
  static Result<std::unique_ptr<memory::DirtySource>> create(pid_t pid, std::span<const RemoteRange> ram);

  Result<void> arm() override;
  Result<void> scan(memory::PageBitmap& out) override;
  Result<void> peek(memory::PageBitmap& out) override;
  bool scans_live() const override { return false; }

 private:
  SoftDirtySource(std::span<const RemoteRange> ram, io::UniqueFd pagemap, io::UniqueFd clear_refs);

  std::vector<RemoteRange> ram_;
  io::UniqueFd pagemap_;
  io::UniqueFd clear_refs_;
  std::vector<std::uint64_t> entries_;
};

/// Says whether this kernel has soft-dirty bits, and they work; an Error names what it lacks.
Result<void> check_kernel_for_soft_dirty();

}  // namespace twinstep::qemu
