// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <list>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "core/compare/comparer.hpp"
#include "core/compare/svm_tracker.hpp"
#include "keys.hpp"
#include "packets.hpp"

namespace twinstep::compare::testing {

using Ids = std::vector<FrameId>;

/// A comparer and a tracker with a link between them, and what came out.
class Pair {
 public:
  explicit Pair(DigestKey key = test_key(), Limits limits = {});

  /// The PVM sends; the frame's number, from 1.
  FrameId pvm(const Segment& segment) { return pvm_frame(encode(segment)); }
  FrameId pvm_frame(Bytes bytes);
  /// The SVM sends, and its record arrives.
  void svm(const Segment& segment) { svm_frame(encode(segment)); }
  void svm_frame(const Bytes& bytes);
  /// The SVM sends; the record is the caller's to deliver, later or never.
  std::optional<ts_record> svm_record(const Segment& segment);
  void deliver(const ts_record& record) { deliver(record, comparer.epoch()); }
  void deliver(const ts_record& record, std::uint32_t epoch);
  void tick();

  /// A whole checkpoint: both start the next epoch, the SVM runs.
  void checkpoint();
  /// Its parts.
  void begin_epoch();
  void commit();
  void run_svm();

  /// Frames that went out, in order.
  std::vector<FrameId> released() const;
  bool is_out(FrameId id) const;
  std::optional<std::uint16_t> window_of(FrameId id) const;
  /// Effects of one kind, in order.
  template <typename T>
  std::vector<T> all() const {
    std::vector<T> found;
    for (const Effect& effect : effects)
      if (const T* one = std::get_if<T>(&effect)) found.push_back(*one);
    return found;
  }
  std::optional<Cause> diverged() const;

  DigestKey key;
  Comparer comparer;
  SvmTracker tracker;
  Effects effects;
  Nanos now = 1000 * kSecond;

 private:
  std::vector<FlowBase> bases_;
  std::list<Bytes> frames_;  // as long as they may be held
  FrameId last_ = 0;
};

}  // namespace twinstep::compare::testing
