// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>

#include "core/failover/record.hpp"
#include "core/time.hpp"

namespace twinstep::io {

/// Holds one record per VM where both hosts can ask for it. Calls block up to their timeout: they belong in a thread
/// that may wait. Thread-safe.
class Arbiter {
 public:
  Arbiter() = default;
  virtual ~Arbiter() = default;
  Arbiter(const Arbiter&) = delete;
  Arbiter& operator=(const Arbiter&) = delete;

  /// ok with the record, or with nothing if there is none yet; or unreachable.
  virtual failover::ArbiterReply read(const std::string& vm, Nanos timeout_ns) = 0;
  /// Puts `desired` in the place of `expected` (nothing: there must be no record), as one step. ok: `desired` is in
  /// force, also if it was before, so that a swap whose answer was lost can be repeated. conflict: another record is,
  /// which is returned.
  virtual failover::ArbiterReply swap(const std::string& vm, const std::optional<failover::Record>& expected,
                                      const failover::Record& desired, Nanos timeout_ns) = 0;
};

}  // namespace twinstep::io
