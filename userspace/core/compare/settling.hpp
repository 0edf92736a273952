// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "core/compare/frame.hpp"

namespace twinstep::compare {

// Whether a VM that sends this has a connection there, or wants one. Anybody outside can make it say SYN-ACK or RST.

inline bool settles(std::uint8_t flags) {
  return (flags & kRst) == 0 && (flags & (kSyn | kAck)) != (kSyn | kAck);
}

inline bool settles(const ts_record& record) {
  constexpr unsigned kAnswer = TS_RECORD_SYN | TS_RECORD_ACK;
  return (record.flags & TS_RECORD_RST) == 0 && (record.flags & kAnswer) != kAnswer;
}

}  // namespace twinstep::compare
