// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "core/result.hpp"
#include "io/unique_fd.hpp"
#include "qemu-glue/qmp/client.hpp"
#include "qemu-glue/state/fd_set.hpp"

namespace twinstep::qemu {

/// The largest device state that is loaded. Usual: 60-220 KB.
inline constexpr std::size_t kDeviceStateBytesMax = std::size_t{16} << 20;

/// Takes the state of a stopped VM's vCPUs and devices, all but its RAM. One per QEMU.
class StateSaver {
 public:
  static Result<StateSaver> create(QmpClient& qmp, Milliseconds timeout);

  /// The VM is stopped. The bytes are valid until the next call.
  Result<std::span<const std::byte>> save(QmpClient& qmp, Milliseconds timeout);

 private:
  StateSaver(SharedFile file, io::UniqueFd qemu_end, FdSet set);

  SharedFile file_;
  io::UniqueFd qemu_end_;  // shares its offset with the descriptor in QEMU
  FdSet set_;
  std::vector<std::byte> state_;
};

/// Gives a stopped VM the device state of another one. One per QEMU.
class StateLoader {
 public:
  /// `machine_type`: resolved, as probe() says it.
  static Result<StateLoader> create(QmpClient& qmp, std::string machine_type, Milliseconds timeout);

  /// The VM is stopped, its RAM is already that of the state: QEMU checks the one against the other. Resets the machine
  /// first. After an Error the VM is in no usable state and stays stopped; a later load makes it whole again.
  Result<void> load(QmpClient& qmp, std::span<const std::byte> saved, Milliseconds timeout);

 private:
  StateLoader(SharedFile file, std::string machine_type);

  Result<void> write_state();
  Result<void> run_job(QmpClient& qmp, const std::string& job, Milliseconds timeout);

  SharedFile file_;
  std::string machine_type_;
  std::vector<std::byte> stream_;
  std::size_t bytes_used_ = 0;  // of the VM state area, by the latest load
  std::uint64_t loads_ = 0;
};

}  // namespace twinstep::qemu
