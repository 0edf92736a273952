// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

namespace twinstep::io {

/// native: in the driver, before the kernel makes a packet of the frame. generic: after; slower, and works everywhere.
enum class XdpMode : std::uint8_t { native, generic };

inline const char* to_string(XdpMode mode) {
  return mode == XdpMode::native ? "native" : "generic";
}

}  // namespace twinstep::io
