// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>

#include "core/result.hpp"
#include "memory/mapping.hpp"

namespace twinstep::qemu {

/// Where a piece of memory lies in another process.
struct RemoteRange {
  std::uint64_t address = 0;
  std::uint64_t bytes = 0;
};

/// The RAM of a VM, that is QEMU's shared memory backend, mapped into this process too.
class GuestRam {
 public:
  /// Finds the backend among the mappings of process `pid`. `bytes`: the VM's memory size. Needs root
  /// (/proc/PID/map_files).
  static Result<GuestRam> open(pid_t pid, std::uint64_t bytes);

  std::span<std::byte> bytes() { return mapping_.bytes(); }
  std::span<const std::byte> bytes() const { return mapping_.bytes(); }
  /// The same memory in QEMU.
  RemoteRange in_qemu() const { return in_qemu_; }

 private:
  GuestRam(memory::Mapping mapping, RemoteRange in_qemu) : mapping_(std::move(mapping)), in_qemu_(in_qemu) {}

  memory::Mapping mapping_;
  RemoteRange in_qemu_;
};

}  // namespace twinstep::qemu
