// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "core/result.hpp"

namespace twinstep::io {

/// What a device is made of (ip-link(8), TYPE). Empty: the kernel names none, as for hardware.
struct DeviceKind {
  std::string kind;         ///< "bond", "bridge", "vlan", "veth", ...
  std::string master;       ///< the device of which it is a member or port
  std::string master_kind;  ///< of that
};

/// Of a device of the calling thread's network namespace. Fails if there is none of this name.
Result<DeviceKind> device_kind(const std::string& name);
/// Members of a bond, ports of a bridge. None if it has none.
std::vector<std::string> device_members(const std::string& master);

}  // namespace twinstep::io
