// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/syscall.h>
#include <sys/types.h>
#include <unistd.h>

#include "io/unique_fd.hpp"

namespace twinstep::qemu {

// By number, as glibc 2.36 declares its wrappers without C linkage, so that C++ can't link them.

/// A descriptor of a process, readable (poll) as soon as it has ended. Empty, with errno, on failure.
inline io::UniqueFd open_pidfd(pid_t pid) {
  return io::UniqueFd(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
}

/// A copy of descriptor `remote_fd` of a process. Empty, with errno, on failure.
inline io::UniqueFd take_remote_fd(const io::UniqueFd& pidfd, int remote_fd) {
  return io::UniqueFd(static_cast<int>(::syscall(SYS_pidfd_getfd, pidfd.get(), remote_fd, 0)));
}

}  // namespace twinstep::qemu
