// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/types.h>

#include <chrono>
#include <filesystem>
#include <string>

#include "core/result.hpp"
#include "io/unique_fd.hpp"
#include "qemu-glue/launch/vm_spec.hpp"
#include "qemu-glue/qmp/client.hpp"

namespace twinstep::qemu {

/// A QEMU that this process started. Ends with the object, and with the thread that launched it (PR_SET_PDEATHSIG), so
/// launch from one that lives as long as the VM.
class QemuProcess {
 public:
  ~QemuProcess();
  QemuProcess(QemuProcess&& other) noexcept;
  QemuProcess& operator=(QemuProcess&& other) noexcept;

  pid_t pid() const { return pid_; }
  /// Readable (poll) as soon as QEMU has ended.
  int death_fd() const { return pidfd_.get(); }
  bool alive() const;
  QmpClient& qmp() { return *qmp_; }

  /// SIGKILL to QEMU and its children, then waits for the end. An Error if it hasn't ended after `timeout`.
  Result<void> kill(std::chrono::milliseconds timeout);
  /// How QEMU ended and the last lines it wrote, for people. Empty while it runs.
  std::string exit_reason();

 private:
  friend Result<QemuProcess> launch(const VmSpec& spec, std::chrono::milliseconds timeout);

  QemuProcess(pid_t pid, io::UniqueFd pidfd, std::filesystem::path log);
  bool wait_end(std::chrono::milliseconds timeout);
  Result<void> connect_monitor(const std::filesystem::path& path, std::chrono::milliseconds timeout);

  pid_t pid_ = -1;
  io::UniqueFd pidfd_;
  std::filesystem::path log_;
  std::string how_it_ended_;
  std::optional<QmpClient> qmp_;
};

/// Starts QEMU and connects to its monitor; `timeout` bounds the latter. If it dies early, the Error has the last lines
/// of its log. QEMU runs in a process group of its own with no descriptors but the taps.
Result<QemuProcess> launch(const VmSpec& spec, std::chrono::milliseconds timeout);

}  // namespace twinstep::qemu
