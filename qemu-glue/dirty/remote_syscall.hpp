// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/types.h>
#include <sys/user.h>

#include <array>
#include <chrono>
#include <cstdint>

#include "core/result.hpp"
#include "memory/deadline.hpp"

namespace twinstep::qemu {

/// Holds the main thread of another process with ptrace(2) and makes it run system calls. As long as the object lives
/// that thread stands still; afterwards it goes on as if nothing had been, an interrupted system call of its own being
/// restarted. For one thread only. Needs CAP_SYS_PTRACE. x86-64.
class RemoteSyscalls {
 public:
  /// An Error if the process can't be held within `timeout`, which bounds each later call too.
  static Result<RemoteSyscalls> attach(pid_t pid, std::chrono::milliseconds timeout);

  ~RemoteSyscalls();
  RemoteSyscalls(RemoteSyscalls&& other) noexcept;
  RemoteSyscalls& operator=(RemoteSyscalls&&) = delete;

  /// Runs a system call. The Error has the call's name `what` and the reason.
  Result<std::int64_t> call(const char* what, std::int64_t number, const std::array<std::uint64_t, 3>& arguments);

 private:
  RemoteSyscalls(pid_t pid, std::chrono::milliseconds timeout) : pid_(pid), timeout_(timeout) {}

  Result<void> hold();
  Result<void> save();
  Result<void> continue_to_syscall_stop();
  /// Waits for the next stop of the thread and returns its waitid status.
  Result<int> wait_stop(const memory::Deadline& deadline);

  pid_t pid_;
  std::chrono::milliseconds timeout_;
  bool saved_ = false;
  user_regs_struct registers_{};
  std::uint64_t signal_mask_ = 0;
  std::uint64_t syscall_address_ = 0;
};

}  // namespace twinstep::qemu
