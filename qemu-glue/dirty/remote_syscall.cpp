// SPDX-License-Identifier: Apache-2.0
#include "qemu-glue/dirty/remote_syscall.hpp"

#include <fcntl.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "io/unique_fd.hpp"
#include "memory/os_error.hpp"
#include "qemu-glue/dirty/proc_maps.hpp"

namespace twinstep::qemu {
namespace {

using memory::fail_errno;

constexpr std::chrono::microseconds kStopPoll{50};
constexpr int kSyscallStop = SIGTRAP | 0x80;  // with PTRACE_O_TRACESYSGOOD
constexpr std::uint64_t kSyscallInstructionBytes = 2;
constexpr std::uint64_t kAllSignals = ~std::uint64_t{0};

// What a system call that a stop interrupted has in rax, include/linux/errno.h in the kernel: never seen by programs.
constexpr std::int64_t kRestartSys = -512;
constexpr std::int64_t kRestartNoIntr = -513;
constexpr std::int64_t kRestartNoHand = -514;
constexpr std::int64_t kRestartBlock = -516;

// glibc declares ptrace's argument types by request only for C; these are the kernel's.
long trace(__ptrace_request request, pid_t pid, std::uintptr_t address, std::uintptr_t data) {
  // NOLINTNEXTLINE(performance-no-int-to-ptr): they are addresses in another process
  return ::ptrace(request, pid, reinterpret_cast<void*>(address), reinterpret_cast<void*>(data));
}

std::uintptr_t address_of(void* object) {
  return reinterpret_cast<std::uintptr_t>(object);
}

std::string name_of(pid_t pid) {
  return "process " + std::to_string(pid);
}

// The address of a `syscall` instruction: the vDSO has one in every process.
Result<std::uint64_t> find_syscall_instruction(pid_t pid) {
  const auto mappings = read_proc_maps(pid);
  if (!mappings) return tl::unexpected(mappings.error());
  const auto vdso = std::find_if(mappings->begin(), mappings->end(), [](const auto& m) { return m.path == "[vdso]"; });
  if (vdso == mappings->end()) return fail(name_of(pid) + " has no vDSO");
  const io::UniqueFd memory(::open(("/proc/" + std::to_string(pid) + "/mem").c_str(), O_RDONLY | O_CLOEXEC));
  std::vector<unsigned char> code(vdso->end - vdso->start);
  if (!memory || ::pread(memory.get(), code.data(), code.size(), static_cast<off_t>(vdso->start)) !=
                     static_cast<ssize_t>(code.size())) {
    return fail_errno("cannot read the vDSO of " + name_of(pid));
  }
  constexpr std::array<unsigned char, kSyscallInstructionBytes> kInstruction{0x0f, 0x05};
  const auto found = std::search(code.begin(), code.end(), kInstruction.begin(), kInstruction.end());
  if (found == code.end()) return fail("the vDSO of " + name_of(pid) + " has no system call in it");
  return vdso->start + static_cast<std::uint64_t>(found - code.begin());
}

// The kernel restarts an interrupted system call only when it delivers a signal; here none is, so it's done by hand:
// back to the instruction, with the call's number in its place.
void arrange_restart(user_regs_struct& registers) {
  const auto result = static_cast<std::int64_t>(registers.rax);
  const bool in_syscall = static_cast<std::int64_t>(registers.orig_rax) >= 0;
  if (!in_syscall) return;
  if (result == kRestartSys || result == kRestartNoIntr || result == kRestartNoHand) {
    registers.rax = registers.orig_rax;
    registers.rip -= kSyscallInstructionBytes;
  } else if (result == kRestartBlock) {
    registers.rax = static_cast<std::uint64_t>(-EINTR);
  }
  registers.orig_rax = static_cast<std::uint64_t>(-1);
}

}  // namespace

Result<RemoteSyscalls> RemoteSyscalls::attach(pid_t pid, std::chrono::milliseconds timeout) {
  const auto instruction = find_syscall_instruction(pid);
  if (!instruction) return tl::unexpected(instruction.error());
  if (trace(PTRACE_SEIZE, pid, 0, PTRACE_O_TRACESYSGOOD) != 0) {
    return fail_errno("cannot hold " + name_of(pid) + " (CAP_SYS_PTRACE is needed, and no debugger on it)");
  }
  RemoteSyscalls remote(pid, timeout);
  remote.syscall_address_ = *instruction;
  auto step = remote.hold();
  if (step) step = remote.save();
  if (!step) return tl::unexpected(step.error());
  return remote;
}

RemoteSyscalls::RemoteSyscalls(RemoteSyscalls&& other) noexcept
    : pid_(std::exchange(other.pid_, -1)),
      timeout_(other.timeout_),
      saved_(other.saved_),
      registers_(other.registers_),
      signal_mask_(other.signal_mask_),
      syscall_address_(other.syscall_address_) {}

RemoteSyscalls::~RemoteSyscalls() {
  if (pid_ < 0) return;
  // If any of this fails the process has ended, and nothing is left to be put right.
  if (saved_) {
    trace(PTRACE_SETREGS, pid_, 0, address_of(&registers_));
    trace(PTRACE_SETSIGMASK, pid_, sizeof(signal_mask_), address_of(&signal_mask_));
  }
  trace(PTRACE_DETACH, pid_, 0, 0);
}

// Interrupts the thread; signals that come before the stop are delivered as they would have been.
Result<void> RemoteSyscalls::hold() {
  if (trace(PTRACE_INTERRUPT, pid_, 0, 0) != 0) return fail_errno("cannot stop " + name_of(pid_));
  const memory::Deadline deadline(timeout_);
  for (;;) {
    const auto status = wait_stop(deadline);
    if (!status) return tl::unexpected(status.error());
    if ((*status >> 8) == PTRACE_EVENT_STOP) return {};
    if (trace(PTRACE_CONT, pid_, 0, static_cast<std::uintptr_t>(*status)) != 0)
      return fail_errno("cannot continue " + name_of(pid_));
  }
}

// Keeps what the destructor puts back, and lets no signal in between.
Result<void> RemoteSyscalls::save() {
  if (trace(PTRACE_GETREGS, pid_, 0, address_of(&registers_)) != 0 ||
      trace(PTRACE_GETSIGMASK, pid_, sizeof(signal_mask_), address_of(&signal_mask_)) != 0) {
    return fail_errno("cannot read the registers of " + name_of(pid_));
  }
  arrange_restart(registers_);
  saved_ = true;
  std::uint64_t all = kAllSignals;
  if (trace(PTRACE_SETSIGMASK, pid_, sizeof(all), address_of(&all)) != 0)
    return fail_errno("cannot block signals of " + name_of(pid_));
  return {};
}

Result<std::int64_t> RemoteSyscalls::call(const char* what, std::int64_t number,
                                          const std::array<std::uint64_t, 3>& arguments) {
  user_regs_struct registers = registers_;
  registers.rip = syscall_address_;
  registers.rax = static_cast<std::uint64_t>(number);
  registers.orig_rax = static_cast<std::uint64_t>(-1);
  registers.rdi = arguments[0];
  registers.rsi = arguments[1];
  registers.rdx = arguments[2];
  if (trace(PTRACE_SETREGS, pid_, 0, address_of(&registers)) != 0)
    return fail_errno("cannot set the registers of " + name_of(pid_));
  auto step = continue_to_syscall_stop();       // before the call
  if (step) step = continue_to_syscall_stop();  // after it
  if (!step) return tl::unexpected(step.error());
  if (trace(PTRACE_GETREGS, pid_, 0, address_of(&registers)) != 0)
    return fail_errno("cannot read the registers of " + name_of(pid_));
  const auto result = static_cast<std::int64_t>(registers.rax);
  if (result < 0)
    return fail(std::string(what) + " in " + name_of(pid_) +
                " failed: " + memory::os_message(static_cast<int>(-result)));
  return result;
}

Result<void> RemoteSyscalls::continue_to_syscall_stop() {
  if (trace(PTRACE_SYSCALL, pid_, 0, 0) != 0) return fail_errno("cannot run a system call in " + name_of(pid_));
  const auto status = wait_stop(memory::Deadline(timeout_));
  if (!status) return tl::unexpected(status.error());
  if (*status != kSyscallStop)
    return fail(name_of(pid_) + " stopped for another reason than the system call asked of it");
  return {};
}

// Polls, as there is no wait with a timeout. WEXITED is left out: the end of the process is for its owner to collect.
Result<int> RemoteSyscalls::wait_stop(const memory::Deadline& deadline) {
  for (;;) {
    siginfo_t info{};
    if (::waitid(P_PID, static_cast<id_t>(pid_), &info, WSTOPPED | WNOHANG | __WALL) != 0 && errno != EINTR) {
      return fail_errno("cannot wait for " + name_of(pid_) + " to stop");
    }
    if (info.si_pid == pid_) return info.si_status;
    if (deadline.passed())
      return fail(name_of(pid_) + " did not stop within " + std::to_string(timeout_.count()) + " ms");
    std::this_thread::sleep_for(kStopPoll);
  }
}

}  // namespace twinstep::qemu
