// SPDX-License-Identifier: Apache-2.0
#include "core/compare/record.hpp"

namespace twinstep::compare {

WholeIdentity WholeIdentity::of(const Frame& frame) {
  return {.digest = frame.digest,
          .flow_id = frame.flow_id,
          .bytes = static_cast<std::uint16_t>(frame.payload.size()),
          .cls = static_cast<std::uint8_t>(frame.cls)};
}

WholeIdentity WholeIdentity::of(const ts_record& record) {
  return {.digest = digest_of(record), .flow_id = record.flow_id, .bytes = record.window, .cls = record.flags};
}

std::size_t WholeIdentityHash::operator()(const WholeIdentity& identity) const noexcept {
  // Both are keyed and nearly uniform; nobody outside can steer them.
  return static_cast<std::size_t>(static_cast<std::uint64_t>(identity.digest) ^ identity.flow_id);
}

ts_record to_record(const WholeIdentity& identity) {
  ts_record record{};
  record.type = TS_RECORD_WHOLE;
  record.flow_id = identity.flow_id;
  record.window = identity.bytes;
  record.flags = identity.cls;
  set_digest(record, identity.digest);
  return record;
}

}  // namespace twinstep::compare
