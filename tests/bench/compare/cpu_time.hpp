// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <vector>

namespace twinstep::bench {

/// CPU time of the calling thread, in ns.
std::uint64_t own_cpu_ns();
/// CPU time of all threads of a process, in ns, softirqs that ran in their context included.
std::uint64_t process_cpu_ns(pid_t process);
/// Of one thread of this process.
std::uint64_t thread_cpu_ns(pid_t thread);
/// Of the kernel's softirq threads, all processors.
std::uint64_t softirq_threads_cpu_ns();

/// Threads of this process.
std::vector<pid_t> own_threads();

/// Lets a thread (0: the caller) or process run on one processor only; nothing happens if the machine has no such one.
void pin(pid_t thread, int processor);

std::uint64_t monotonic_ns();

}  // namespace twinstep::bench
