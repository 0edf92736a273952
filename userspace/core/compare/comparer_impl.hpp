// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "core/compare/comparer.hpp"
#include "core/compare/flow.hpp"
#include "core/compare/flow_table.hpp"
#include "core/compare/hold_clock.hpp"
#include "core/compare/token_bucket.hpp"
#include "core/compare/whole_frames.hpp"

namespace twinstep::compare {

struct Comparer::Impl {
  using Entry = FlowTable<Flow>::Entry;

  Impl(DigestKey digest_key, const Limits& comparer_limits);

  // What comes in.
  void on_tcp(const HeldFrame& held, const Frame& frame, std::span<const std::byte> bytes, Effects& out);
  void on_whole(const HeldFrame& held, const Frame& frame, Effects& out);
  void on_tcp_record(const ts_record& record, Nanos now, Effects& out);
  void on_whole_record(const ts_record& record, Effects& out);

  // What goes out.
  void release(Entry& entry, std::uint64_t arriving, Effects& out);
  void release_whole(const HeldFrame& held, std::uint64_t arriving, Effects& out);
  void drop(FrameId id, Effects& out);
  void diverge(Cause cause, std::string detail, Effects& out);
  void disagree(Connection& connection, const Flow& flow, const Disagreement& disagreement, Effects& out);
  /// All that waits, of this epoch and closed ones, in order of arrival; nothing waits afterwards.
  std::vector<HeldFrame> take_all_held();
  /// Forgets the flows: from here on frames go out uncompared, and what is known of them goes stale.
  void forget();
  /// Begins an epoch anew: nothing waits, nothing is committed, the SVM stands still.
  void restart();

  // Hold clock.
  std::optional<Nanos> deadline_of(const Flow& flow) const;
  void check_flows(Nanos now, Effects& out);
  void check_whole(Nanos now, Effects& out);
  void check_at(Nanos when);

  // Flows and expendable frames.
  Entry& entry_of(FlowId id, Effects& out);
  void settle(Entry& entry);
  /// So many expendable frames of one kind wait. True: one is too much. Asks for a checkpoint before it comes to that.
  bool is_full_of(std::size_t waiting_frames, Nanos now, Effects& out);
  /// An expendable frame is overdue: asks for a checkpoint, or says when it may.
  void ask_for_expendable(Cause cause, std::string detail, Nanos now, Effects& out);
  void note_flows();

  Context context() { return {.key = key, .limits = limits, .stats = stats}; }

  /// Frames of an epoch that begin_epoch() closed.
  struct Closed {
    HeldFrame frame;
    std::uint32_t epoch = 0;
  };

  DigestKey key;
  Limits limits;
  Stats stats;
  FlowTable<Flow> flows;
  WholeFrames whole;
  HoldClock clock;
  std::vector<Closed> closed;       // in order of arrival
  TokenBucket expendable_asks;      // for checkpoints
  std::size_t half_open_held = 0;   // frames of half-open flows that wait
  std::vector<Entry*> waiting;      // flows that may hold frames; tidied by check_flows()
  std::vector<FlowId> offers;       // connections that may be lent
  std::size_t lent = 0;             // connections that are
  std::optional<Nanos> next_check;  // no frame is overdue before it
  std::uint32_t epoch = 0;
  bool committed = false;  // the state that this epoch began with; until then nothing of the epoch goes out
  bool diverged = false;
};

}  // namespace twinstep::compare
