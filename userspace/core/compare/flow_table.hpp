// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <list>
#include <unordered_map>
#include <utility>

#include "core/compare/flow_key.hpp"

namespace twinstep::compare {

/// Flows by number, bounded. A flow is half-open until settle(): anybody outside can make the VM answer as many flows
/// as he likes, so these have a bound and an order of their own, and never push a settled flow out. Addresses of
/// entries are stable.
template <typename T>
class FlowTable {
 public:
  struct Entry {
    const FlowId id;
    T flow;
    bool half_open = true;
  };

  FlowTable(std::size_t settled_max, std::size_t half_open_max)
      : settled_max_(settled_max), half_open_max_(half_open_max) {}

  /// The flow of `id`, now the most recently used one of its kind; nullptr: there is none.
  Entry* find(FlowId id) {
    const auto found = index_.find(id);
    if (found == index_.end()) return nullptr;
    auto& kind = kind_of(*found->second);
    kind.splice(kind.end(), kind, found->second);
    return &*found->second;
  }

  /// Makes the flow of a number that isn't there, half-open. Where there is no room the oldest half-open flow goes,
  /// after forget(Entry&).
  template <typename Forget>
  Entry& create(FlowId id, T flow, Forget&& forget) {
    if (half_open_.size() >= half_open_max_) {
      forget(half_open_.front());
      index_.erase(half_open_.front().id);
      half_open_.pop_front();
    }
    half_open_.push_back({.id = id, .flow = std::move(flow)});
    index_.emplace(id, std::prev(half_open_.end()));
    return half_open_.back();
  }

  /// The flow stays from here on. Where there is no room the oldest settled flow that may_forget(Entry&) allows goes;
  /// if it allows none the table grows.
  template <typename MayForget>
  void settle(Entry& entry, MayForget&& may_forget) {
    if (!entry.half_open) return;
    if (settled_.size() >= settled_max_) forget_oldest(may_forget);
    entry.half_open = false;
    settled_.splice(settled_.end(), half_open_, index_.at(entry.id));
  }

  template <typename Unwanted>
  void erase_if(Unwanted&& unwanted) {
    for (Entries* kind : {&half_open_, &settled_}) {
      for (auto entry = kind->begin(); entry != kind->end();) {
        if (!unwanted(entry->flow)) {
          ++entry;
          continue;
        }
        index_.erase(entry->id);
        entry = kind->erase(entry);
      }
    }
  }

  void clear() {
    index_.clear();
    half_open_.clear();
    settled_.clear();
  }

  /// Half-open flows before settled ones, each kind least recently used first.
  template <typename Visit>
  void for_each(Visit&& visit) {
    for (Entries* kind : {&half_open_, &settled_})
      for (Entry& entry : *kind) visit(entry);
  }
  template <typename Visit>
  void for_each(Visit&& visit) const {
    for (const Entries* kind : {&half_open_, &settled_})
      for (const Entry& entry : *kind) visit(entry);
  }
  std::size_t size() const { return index_.size(); }
  std::size_t half_open() const { return half_open_.size(); }

 private:
  using Entries = std::list<Entry>;

  Entries& kind_of(const Entry& entry) { return entry.half_open ? half_open_ : settled_; }

  template <typename MayForget>
  void forget_oldest(MayForget&& may_forget) {
    for (auto entry = settled_.begin(); entry != settled_.end(); ++entry) {
      if (!may_forget(*entry)) continue;
      index_.erase(entry->id);
      settled_.erase(entry);
      return;
    }
  }

  std::size_t settled_max_;
  std::size_t half_open_max_;
  Entries half_open_;
  Entries settled_;
  std::unordered_map<FlowId, typename Entries::iterator> index_;  // numbers are uniform: nothing to hash
};

}  // namespace twinstep::compare
