// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string_view>

#include "packets.hpp"

namespace twinstep::compare::testing {

inline Segment data(std::uint32_t seq, std::string_view text, std::uint32_t ack = 0) {
  return {.seq = seq, .ack = ack, .payload = bytes_of(text)};
}
inline Segment pure_ack(std::uint32_t seq, std::uint32_t ack, std::uint16_t window = 1000) {
  return {.seq = seq, .ack = ack, .window = window};
}
inline Segment fin(std::uint32_t seq, std::uint32_t ack = 0) {
  return {.seq = seq, .ack = ack, .flags = kAck | kFin};
}
inline Segment rst(std::uint32_t seq, std::uint32_t ack = 0) {
  return {.seq = seq, .ack = ack, .flags = kAck | kRst};
}
inline Segment syn_ack(std::uint32_t isn, std::uint32_t tsval = 100) {
  return {.seq = isn, .ack = 1, .flags = kSyn | kAck, .tsval = tsval, .mss = 1460, .window_scale = 0};
}

}  // namespace twinstep::compare::testing
