// SPDX-License-Identifier: Apache-2.0
#include "qemu-glue/launch/process.hpp"

#include <poll.h>
#include <sys/wait.h>

#include <csignal>
#include <deque>
#include <fstream>
#include <utility>

#include "memory/deadline.hpp"
#include "memory/os_error.hpp"
#include "qemu-glue/launch/pidfd.hpp"
#include "qemu-glue/launch/spawn.hpp"

namespace twinstep::qemu {
namespace {

using memory::fail_errno;

constexpr std::size_t kLogLinesShown = 5;
constexpr Milliseconds kKillTimeout{5000};
constexpr Milliseconds kConnectSlice{50};

std::string last_lines(const std::filesystem::path& log) {
  std::ifstream file(log);
  std::deque<std::string> lines;
  for (std::string line; std::getline(file, line);) {
    if (lines.size() == kLogLinesShown) lines.pop_front();
    lines.push_back(std::move(line));
  }
  std::string text;
  for (const auto& line : lines) text += (text.empty() ? "" : " | ") + line;
  return text.empty() ? "its log " + log.string() + " is empty" : text;
}

std::string describe(const siginfo_t& info) {
  if (info.si_code == CLD_EXITED) return "QEMU ended with exit status " + std::to_string(info.si_status);
  return "QEMU was killed by signal " + std::to_string(info.si_status);
}

}  // namespace

Result<QemuProcess> launch(const VmSpec& spec, Milliseconds timeout) {
  const auto args = command_line(spec);
  if (!args) return tl::unexpected(args.error());
  std::error_code ignored;  // there may be none; if it cannot be removed, QEMU says so
  std::filesystem::remove(qmp_path(spec), ignored);

  std::vector<int> inherited;
  for (const auto& nic : spec.nics) inherited.push_back(nic.tap_fd);
  const auto pid = spawn(*args, log_path(spec), inherited);
  if (!pid) return tl::unexpected(pid.error());
  QemuProcess process(*pid, open_pidfd(*pid), log_path(spec));
  if (!process.pidfd_) return fail_errno("cannot watch the process of QEMU");
  if (auto connected = process.connect_monitor(qmp_path(spec), timeout); !connected)
    return tl::unexpected(connected.error());
  return process;
}

QemuProcess::QemuProcess(pid_t pid, io::UniqueFd pidfd, std::filesystem::path log)
    : pid_(pid), pidfd_(std::move(pidfd)), log_(std::move(log)) {}

QemuProcess::QemuProcess(QemuProcess&& other) noexcept
    : pid_(std::exchange(other.pid_, -1)),
      pidfd_(std::move(other.pidfd_)),
      log_(std::move(other.log_)),
      how_it_ended_(std::move(other.how_it_ended_)),
      qmp_(std::move(other.qmp_)) {}

QemuProcess& QemuProcess::operator=(QemuProcess&& other) noexcept {
  std::swap(pid_, other.pid_);
  std::swap(pidfd_, other.pidfd_);
  std::swap(log_, other.log_);
  std::swap(how_it_ended_, other.how_it_ended_);
  std::swap(qmp_, other.qmp_);
  return *this;
}

QemuProcess::~QemuProcess() {
  if (pid_ < 0) return;
  // A destructor has nobody to tell; the kernel ends a process with a pending SIGKILL as soon as it can.
  static_cast<void>(kill(kKillTimeout));
}

Result<void> QemuProcess::connect_monitor(const std::filesystem::path& path, Milliseconds timeout) {
  const memory::Deadline deadline(timeout);
  for (;;) {
    auto client = QmpClient::connect(path, kConnectSlice);
    if (client) {
      qmp_ = std::move(*client);
      return {};
    }
    if (wait_end(Milliseconds(0))) return fail("QEMU did not start: " + exit_reason());
    if (deadline.passed()) return fail(client.error().message + "; the last lines of QEMU's log: " + last_lines(log_));
  }
}

bool QemuProcess::alive() const {
  pollfd death{pidfd_.get(), POLLIN, 0};
  return ::poll(&death, 1, 0) == 0;
}

// Waits for the end and collects the process.
bool QemuProcess::wait_end(Milliseconds timeout) {
  if (!how_it_ended_.empty()) return true;
  const memory::Deadline deadline(timeout);
  pollfd death{pidfd_.get(), POLLIN, 0};
  int ready = 0;
  do {
    ready = ::poll(&death, 1, deadline.poll_timeout_ms());
  } while (ready < 0 && errno == EINTR);
  siginfo_t info{};
  if (ready <= 0 || ::waitid(P_PID, static_cast<id_t>(pid_), &info, WEXITED | WNOHANG) != 0 || info.si_pid != pid_)
    return false;
  how_it_ended_ = describe(info);
  return true;
}

Result<void> QemuProcess::kill(Milliseconds timeout) {
  // Its process group carries its number, which nobody else can have before it is collected.
  if (how_it_ended_.empty()) ::kill(-pid_, SIGKILL);
  if (!wait_end(timeout)) {
    return fail("QEMU (process " + std::to_string(pid_) + ") has not ended " + std::to_string(timeout.count()) +
                " ms after SIGKILL");
  }
  return {};
}

std::string QemuProcess::exit_reason() {
  if (!wait_end(Milliseconds(0))) return "";
  return how_it_ended_ + ": " + last_lines(log_);
}

}  // namespace twinstep::qemu
