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
  /// twins_max: frames of the SVM without a frame of the PVM; the oldest is forgotten first.
  explicit WholeFrames(std::size_t twins_max) : twins_max_(twins_max) {}

  /// A frame of the PVM: it waits until match() or take_held().
  void add_pvm(const WholeIdentity& identity, const HeldFrame& frame);
  /// A frame of the SVM.
  void add_svm(const WholeIdentity& identity);
  /// Pairs two equal frames: the PVM's frame that may go, the one that waits longest; nothing: no pair is there.
  std::optional<HeldFrame> match(const WholeIdentity& identity);
  /// All pairs, in order of arrival.
  std::vector<HeldFrame> match_all();

  /// The frame that waits longest; nothing: none waits.
  std::optional<HeldFrame> oldest() const;
  std::size_t size() const { return order_.size(); }
  /// Takes away the frame that waits longest; nothing: none waits.
  std::optional<HeldFrame> take_oldest();
  /// Takes away all that waits and forgets the SVM's.
  void take_held(std::vector<HeldFrame>& held);

 private:
  using Order = std::list<std::pair<WholeIdentity, HeldFrame>>;
  using Twins = std::list<WholeIdentity>;
  struct Kind {
    Fifo<Twins::iterator> twins;    // of the SVM without a frame of the PVM, oldest first
    Fifo<Order::iterator> waiting;  // of the PVM without a twin, oldest first
  };
  using Kinds = std::unordered_map<WholeIdentity, Kind, WholeIdentityHash>;
  void take_twin(Kinds::iterator kind);
  HeldFrame take_waiting(Kinds::iterator kind);
  void tidy(Kinds::iterator kind);

  std::size_t twins_max_;
  Kinds kinds_;
  Order order_;
  Twins twins_;
};

}  // namespace twinstep::compare
