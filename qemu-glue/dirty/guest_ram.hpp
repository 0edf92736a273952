// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include "core/result.hpp"
#include "io/unique_fd.hpp"
#include "memory/mapping.hpp"
#include "memory/page_bitmap.hpp"

namespace twinstep::qemu {

/// Where a piece of the VM's RAM lies in QEMU.
struct RemoteRange {
  std::uint64_t address = 0;
  std::uint64_t bytes = 0;
};

/// The RAM of a VM, that is QEMU's shared memory backends, mapped into this process too: one after the other in the
/// order in which QEMU made them, as if they were one.
class GuestRam {
 public:
  /// Finds the backends among the mappings of process `pid`. `bytes`: the VM's memory size. Needs root
  /// (/proc/PID/map_files).
  static Result<GuestRam> open(pid_t pid, std::uint64_t bytes);

  std::span<std::byte> bytes() { return mapping_.bytes(); }
  std::span<const std::byte> bytes() const { return mapping_.bytes(); }
  /// The same memory in QEMU, piece by piece.
  std::span<const RemoteRange> in_qemu() const { return in_qemu_; }
  /// The pages that have memory. All others are zeros that cost nothing as long as nobody reads them.
  Result<memory::PageBitmap> present() const;

 private:
  GuestRam(memory::Mapping mapping, std::vector<RemoteRange> in_qemu, std::vector<io::UniqueFd> files)
      : mapping_(std::move(mapping)), in_qemu_(std::move(in_qemu)), files_(std::move(files)) {}

  memory::Mapping mapping_;
  std::vector<RemoteRange> in_qemu_;
  std::vector<io::UniqueFd> files_;  // of in_qemu_
};

}  // namespace twinstep::qemu
