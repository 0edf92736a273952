// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <list>
#include <unordered_map>
#include <utility>

#include "core/compare/flow_key.hpp"

namespace twinstep::compare {

/// Flows by number, bounded: the one that was used longest ago makes room for a new one. Addresses of the values are
/// stable.
template <typename T>
class FlowTable {
 public:
  explicit FlowTable(std::size_t flows_max) : flows_max_(flows_max) {}

  /// The flow of `id`, now the most recently used one; nullptr: there is none.
  T* find(FlowId id) {
    const auto found = index_.find(id);
    if (found == index_.end()) return nullptr;
    entries_.splice(entries_.end(), entries_, found->second);
    return &found->second->second;
  }

  /// Makes the flow of a number that isn't there. Where there is no room the oldest flow that `may_forget` allows goes;
  /// if it allows none the table grows.
  template <typename MayForget>
  T& create(FlowId id, T value, MayForget&& may_forget) {
    if (index_.size() >= flows_max_) forget_oldest(may_forget);
    entries_.emplace_back(id, std::move(value));
    index_.emplace(id, std::prev(entries_.end()));
    return entries_.back().second;
  }

  template <typename Unwanted>
  void erase_if(Unwanted&& unwanted) {
    for (auto entry = entries_.begin(); entry != entries_.end();) {
      if (!unwanted(entry->second)) {
        ++entry;
        continue;
      }
      index_.erase(entry->first);
      entry = entries_.erase(entry);
    }
  }

  void clear() {
    index_.clear();
    entries_.clear();
  }

  /// Pairs of number and flow, least recently used first.
  auto begin() { return entries_.begin(); }
  auto end() { return entries_.end(); }
  auto begin() const { return entries_.begin(); }
  auto end() const { return entries_.end(); }
  std::size_t size() const { return index_.size(); }

 private:
  using Entries = std::list<std::pair<const FlowId, T>>;

  template <typename MayForget>
  void forget_oldest(MayForget&& may_forget) {
    for (auto entry = entries_.begin(); entry != entries_.end(); ++entry) {
      if (!may_forget(entry->second)) continue;
      index_.erase(entry->first);
      entries_.erase(entry);
      return;
    }
  }

  std::size_t flows_max_;
  Entries entries_;
  std::unordered_map<FlowId, typename Entries::iterator> index_;  // numbers are uniform: nothing to hash
};

}  // namespace twinstep::compare
