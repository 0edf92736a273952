// SPDX-License-Identifier: Apache-2.0
#include "core/compare/record.hpp"

namespace twinstep::compare {

WholeIdentity WholeIdentity::of(const Frame& frame) {
  const bool addressed = frame.cls == TS_CLASS_DATAGRAM;
  return {.digest = frame.digest,
          .vm_addr_be = addressed ? frame.vm_addr_be : 0,
          .peer_addr_be = addressed ? frame.peer_addr_be : 0,
          .class_and_protocol =
              static_cast<std::uint32_t>(frame.cls) | (addressed ? std::uint32_t{frame.ip_protocol} << 8 : 0U),
          .bytes = static_cast<std::uint16_t>(frame.payload.size())};
}

WholeIdentity WholeIdentity::of(const ts_record& record) {
  return {.digest = digest_of(record),
          .vm_addr_be = record.vm_addr_be,
          .peer_addr_be = record.peer_addr_be,
          .class_and_protocol = record.seq_next,
          .bytes = record.window};
}

std::size_t WholeIdentityHash::operator()(const WholeIdentity& identity) const noexcept {
  // The digest is keyed and nearly uniform; nobody outside can steer it.
  return static_cast<std::size_t>(static_cast<std::uint64_t>(identity.digest) ^ identity.peer_addr_be);
}

ts_record to_record(const WholeIdentity& identity) {
  ts_record record{};
  record.type = TS_RECORD_WHOLE;
  record.vm_addr_be = identity.vm_addr_be;
  record.peer_addr_be = identity.peer_addr_be;
  record.seq_next = identity.class_and_protocol;
  record.window = identity.bytes;
  set_digest(record, identity.digest);
  return record;
}

}  // namespace twinstep::compare
