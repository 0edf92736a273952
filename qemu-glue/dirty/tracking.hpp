// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <memory>
#include <span>

#include "core/result.hpp"
#include "memory/dirty_source.hpp"
#include "qemu-glue/dirty/guest_ram.hpp"
#include "qemu-glue/qmp/client.hpp"

namespace twinstep::qemu {

/// How the kernel tells which memory a VM has written.
enum class DirtyTracking : std::uint8_t {
  write_protection,  ///< userfaultfd's asynchronous write protection and PAGEMAP_SCAN, Linux 6.7 or newer
  soft_dirty,        ///< the soft-dirty bit of page tables (CONFIG_MEM_SOFT_DIRTY), before that
};
const char* to_string(DirtyTracking tracking);

/// The better of what this kernel does, each tried out on a page of this process. An Error: it does neither.
Result<DirtyTracking> probe_dirty_tracking();

/// Whether a disk of this QEMU is read or written past the host's page cache. The kernel then writes guest RAM through
/// pins, which may outlast a scan beside the running VM and make it miss a page; a stopped VM has none.
Result<bool> uses_direct_io(QmpClient& qmp, Milliseconds timeout);

/// Watches the RAM of process `pid`. direct_io: see uses_direct_io(). Needs CAP_SYS_PTRACE; halts QEMU's main thread
/// for about 1 ms.
Result<std::unique_ptr<memory::DirtySource>> watch_ram(DirtyTracking tracking, pid_t pid,
                                                       std::span<const RemoteRange> ram, bool direct_io);

}  // namespace twinstep::qemu
