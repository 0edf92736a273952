// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "core/result.hpp"

/// The disguise in which QEMU takes a device state: a small qcow2 file (QEMU's docs/interop/qcow2) without any disk
/// content and with one internal snapshot, whose VM state is the stream to load.
namespace twinstep::qemu {

inline constexpr std::string_view kSnapshotTag = "ck";

/// Where the VM state begins in the file. All before it never changes.
inline constexpr std::size_t kVmStateOffset = std::size_t{7} << 16;

/// The file's bytes [0, kVmStateOffset), for a VM state of up to `vm_state_bytes_max`. Pure.
std::vector<std::byte> snapshot_image_head(std::size_t vm_state_bytes_max);

/// Turns what xen-save-devices-state wrote into what snapshot-load reads: adds the section that names the machine's
/// type, resolved (pc-q35-7.2), and an empty description. Replaces `stream`. An Error if `saved` isn't a whole device
/// state. Pure.
Result<void> make_vm_state(std::span<const std::byte> saved, std::string_view machine_type,
                           std::vector<std::byte>& stream);

}  // namespace twinstep::qemu
