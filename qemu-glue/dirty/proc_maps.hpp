// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "core/result.hpp"

namespace twinstep::qemu {

/// One line of /proc/PID/maps (proc(5)).
struct ProcMapping {
  std::uint64_t start = 0;
  std::uint64_t end = 0;
  std::uint64_t inode = 0;
  std::string permissions;  ///< "rw-s"
  std::string path;         ///< empty, a file's path, or a name such as "[vdso]"
};

/// Reads one line; false if it isn't one. Pure.
bool parse_proc_mapping(std::string_view line, ProcMapping& mapping);

Result<std::vector<ProcMapping>> read_proc_maps(pid_t pid);

}  // namespace twinstep::qemu
