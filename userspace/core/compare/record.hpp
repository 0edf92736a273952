// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>

#include "bpf/abi/twinstep_abi.h"
#include "core/compare/digest.hpp"
#include "core/compare/frame.hpp"

namespace twinstep::compare {

inline void set_digest(ts_record& record, Digest digest) {
  record.digest_lo = static_cast<std::uint64_t>(digest);
  record.digest_hi = static_cast<std::uint8_t>(digest >> 64);
}
inline Digest digest_of(const ts_record& record) {
  return (Digest{record.digest_hi} << 64) | record.digest_lo;
}

/// What makes two frames that are compared as a whole the same.
struct WholeIdentity {
  Digest digest = 0;
  FlowId flow_id = 0;
  std::uint16_t bytes = 0;
  std::uint8_t cls = 0;  ///< enum ts_class

  static WholeIdentity of(const Frame& frame);
  static WholeIdentity of(const ts_record& record);
  bool operator==(const WholeIdentity&) const = default;
};

struct WholeIdentityHash {
  std::size_t operator()(const WholeIdentity& identity) const noexcept;
};

ts_record to_record(const WholeIdentity& identity);

}  // namespace twinstep::compare
