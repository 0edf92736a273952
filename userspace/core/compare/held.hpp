// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "core/compare/frame.hpp"
#include "core/time.hpp"

namespace twinstep::compare {

/// A frame of the PVM that waits.
struct HeldFrame {
  FrameId id = 0;
  std::uint64_t number = 0;  ///< order of arrival, over all flows
  Nanos arrived_ns = 0;
};

/// A TCP frame of the PVM that waits, with what decides when it may go.
struct HeldSegment {
  HeldFrame frame;
  std::uint32_t numbers = 0;  ///< sequence numbers it takes: payload, SYN and FIN
  std::uint32_t end = 0;      ///< the number behind it
  std::uint32_t ack = 0;
  std::uint16_t window = 0;
  std::uint8_t flags = 0;
  bool repeats = false;  ///< its sequence numbers went out before
  std::span<const std::byte> bytes;
};

}  // namespace twinstep::compare
