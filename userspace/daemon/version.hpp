// SPDX-License-Identifier: Apache-2.0
#pragma once

namespace twinstep::daemon {

/// The version of the software, from CMake's project().
inline constexpr const char* kVersion = TWINSTEP_VERSION;

}  // namespace twinstep::daemon
