// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>

#include "core/result.hpp"
#include "qemu-glue/qmp/client.hpp"

namespace twinstep::qemu {

/// Most virtual CPUs with which checkpoints are known to work.
inline constexpr std::size_t kCpusMax = 8;

/// Looks at the running machine for state that a checkpoint would not carry: devices of the host's, memory outside the
/// VM's RAM, an inflated balloon, writable disks, devices that say themselves that they can't be migrated; and for NICs
/// that aren't the `nics` ones of the VM's definition, or lack of these. What is in the machine counts, also what was
/// plugged in after the start. The Error names the first such device and the reason.
Result<void> check_coverage(QmpClient& qmp, std::uint64_t memory_bytes, std::size_t nics);

}  // namespace twinstep::qemu
