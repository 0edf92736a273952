// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <fcntl.h>
#include <sys/types.h>

#include <string>

#include "core/result.hpp"
#include "io/unique_fd.hpp"
#include "memory/os_error.hpp"

namespace twinstep::qemu {

/// Opens a file of a process in /proc. flags: open(2)'s.
inline Result<io::UniqueFd> open_proc_file(pid_t pid, const char* name, int flags) {
  const std::string path = "/proc/" + std::to_string(pid) + "/" + name;
  io::UniqueFd file(::open(path.c_str(), flags | O_CLOEXEC));
  if (!file) return memory::fail_errno("cannot open " + path);
  return file;
}

}  // namespace twinstep::qemu
