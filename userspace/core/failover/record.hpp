// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>

namespace twinstep::failover {

using HostId = std::string;

/// The arbiter's one record per VM. Every change is one compare-and-swap that raises the generation by one.
/// secondary empty: the primary is solo, and nobody else may run the VM.
struct Record {
  std::uint64_t generation = 0;
  HostId primary;
  HostId secondary;
  bool operator==(const Record&) const = default;
};

/// What the arbiter answered. A swap whose answer was lost may have happened: it is repeated, and finding its own
/// desired record in place counts as success.
struct ArbiterReply {
  enum class Status : std::uint8_t { ok, conflict, unreachable };
  Status status = Status::unreachable;
  std::optional<Record> record;  ///< the record in force after the call; nothing: there is none (ok, conflict)
};

}  // namespace twinstep::failover
