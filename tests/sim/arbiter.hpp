// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <optional>

#include "context.hpp"
#include "core/failover/record.hpp"

namespace twinstep::sim {

/// The arbiter: one record, changed by compare-and-swap only. Questions and answers take time and get lost; a question
/// whose asker has been told "unreachable" may still be carried out.
class Arbiter {
 public:
  using Answer = std::function<void(const failover::ArbiterReply&)>;
  /// `asked_at`: when the request was made that changed the record.
  using Watcher = std::function<void(Nanos asked_at)>;
  Arbiter(Context& context, Watcher watcher) : context_(context), watcher_(std::move(watcher)) {}

  void read(const Answer& answer);
  void swap(const std::optional<failover::Record>& expected, const failover::Record& desired, const Answer& answer);
  const std::optional<failover::Record>& record() const { return record_; }
  void set_reachable(bool reachable) { reachable_ = reachable; }

 private:
  using Operation = std::function<failover::ArbiterReply()>;
  void ask(const Operation& operation, const Answer& answer);

  Context& context_;
  Watcher watcher_;
  std::optional<failover::Record> record_;
  bool reachable_ = true;
};

}  // namespace twinstep::sim
