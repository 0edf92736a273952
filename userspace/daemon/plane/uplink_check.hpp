// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "core/result.hpp"

namespace twinstep::daemon {

/// Whether the uplink hands over every frame as it is on the wire, and sends what it is given. VLAN tags that it strips
/// are left in the frames from here on. An Error says what may be done. Devices are the caller's network namespace's.
Result<void> prepare_uplink(const std::string& uplink);

/// Whether the uplink's program may run in the driver: not in those of a bond, which run it for devices that aren't the
/// uplink.
Result<bool> runs_natively(const std::string& uplink);

}  // namespace twinstep::daemon
