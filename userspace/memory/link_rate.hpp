// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

namespace twinstep::memory {

/// How many bytes a second the link delivers on this socket, as the kernel has measured it last; 0: it hasn't, or the
/// socket isn't a TCP socket.
std::uint64_t delivery_rate(int socket);

}  // namespace twinstep::memory
