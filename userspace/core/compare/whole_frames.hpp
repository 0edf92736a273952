// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <list>
#include <optional>
#include <unordered_map>
#include <utility>
#include <vector>

#include "core/compare/fifo.hpp"
#include "core/compare/held.hpp"
#include "core/compare/record.hpp"

namespace twinstep::compare {

/// Frames that are compared as a whole, in any order: a multiset in which each frame of the PVM meets one of the SVM.
class WholeFrames {
 public:
  /// kinds_max: different frames that one VM has sent and the other has not yet.
  explicit WholeFrames(std::size_t kinds_max) : kinds_max_(kinds_max) {}

  /// A frame of the PVM: it waits until match() or take_held().
  void add_pvm(const WholeIdentity& identity, const HeldFrame& frame);
  /// A frame of the SVM. False: their limit is reached, it was dropped.
  bool add_svm(const WholeIdentity& identity);
  /// Pairs two equal frames: the PVM's frame that may go, the one that waits longest; nothing: no pair is there.
  std::optional<HeldFrame> match(const WholeIdentity& identity);
  /// All pairs, in order of arrival.
  std::vector<HeldFrame> match_all();

  /// The frame that waits longest; nothing: none waits.
  std::optional<HeldFrame> oldest() const;
  std::size_t size() const { return order_.size(); }
  /// Takes away all that waits and forgets the SVM's.
  void take_held(std::vector<HeldFrame>& held);

 private:
  using Order = std::list<std::pair<WholeIdentity, HeldFrame>>;
  struct Kind {
    std::uint32_t twins = 0;        // of the SVM without a frame of the PVM
    Fifo<Order::iterator> waiting;  // of the PVM without a twin, oldest first
  };

  std::size_t kinds_max_;
  std::unordered_map<WholeIdentity, Kind, WholeIdentityHash> kinds_;
  Order order_;
};

}  // namespace twinstep::compare
