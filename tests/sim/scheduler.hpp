// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>
#include <utility>
#include <vector>

#include "core/time.hpp"

namespace twinstep::sim {

/// Simulated time: actions in order of their time, those of one instant in the order in which they were asked for.
class Scheduler {
 public:
  using Action = std::function<void()>;

  Nanos now() const { return now_; }
  void at(Nanos time, Action action) {
    queue_.push_back({std::max(time, now_), order_++, std::move(action)});
    std::push_heap(queue_.begin(), queue_.end(), later);
  }
  /// Actions run without time going on.
  std::uint64_t actions_now() const { return actions_now_; }
  void after(Nanos delay, Action action) { at(now_ + delay, std::move(action)); }

  /// Runs the next action; false: there is none.
  bool run_one() {
    if (queue_.empty()) return false;
    actions_now_ = queue_.front().time == now_ ? actions_now_ + 1 : 0;
    std::pop_heap(queue_.begin(), queue_.end(), later);
    const Entry entry = std::move(queue_.back());
    queue_.pop_back();
    now_ = entry.time;
    entry.action();
    return true;
  }

 private:
  struct Entry {
    Nanos time = 0;
    std::uint64_t order = 0;
    Action action;
  };
  static bool later(const Entry& a, const Entry& b) { return a.time != b.time ? a.time > b.time : a.order > b.order; }

  Nanos now_ = kSecond;  // not 0: the machines use 0 for "never"
  std::uint64_t order_ = 0;
  std::uint64_t actions_now_ = 0;
  std::vector<Entry> queue_;
};

}  // namespace twinstep::sim
