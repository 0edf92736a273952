// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "core/result.hpp"
#include "core/time.hpp"

namespace twinstep::wire {

/// "TSHB" as it lies on the wire.
inline constexpr std::uint32_t kHeartbeatMagic = 0x42485354;
inline constexpr std::size_t kHeartbeatBytesMax = 128;

/// One UDP datagram: the sender's daemon runs and is scheduled.
struct Heartbeat {
  std::string host;            ///< the sender's name
  std::uint64_t sequence = 0;  ///< from 0, by one; starts anew with the sender's daemon
  Nanos sent_at_ns = 0;        ///< the sender's monotonic clock
  bool operator==(const Heartbeat&) const = default;
};

std::vector<std::byte> encode(const Heartbeat& heartbeat);

/// Errors: not a heartbeat, another wire version, wrong length.
Result<Heartbeat> decode_heartbeat(std::span<const std::byte> datagram);

}  // namespace twinstep::wire
