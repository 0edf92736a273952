// SPDX-License-Identifier: Apache-2.0
// Which of a connection's frames may go out (invariant I1), and with which window.
#include "bpf/abi/twinstep_match.h"
#include "core/compare/connection.hpp"

namespace twinstep::compare {

bool Connection::bytes_agree(const HeldSegment& held) const {
  if ((held.flags & kRst) != 0) return svm_.resets > 0 || (stream_ && stream_->fin_verified());
  if (held.numbers == 0) return true;
  return stream_ && seq_le(held.end, stream_->verified());
}

bool Connection::is_acked(const HeldSegment& held) const {
  if ((held.flags & kAck) == 0) return true;
  if (!svm_.ack) return false;
  // The SVM has no socket left and answers the client's FIN with a RST, after all of its own bytes agreed (rule 5):
  // that it acknowledged everything but the FIN's number is all it ever will.
  const bool closed = svm_.resets > 0 && stream_ && stream_->fin_verified();
  return ts_ack_rule(held.ack, *svm_.ack + (closed ? 1U : 0U)) != 0;
}

bool Connection::may_go(const HeldSegment& held) const {
  return opened_ && !disagrees_ && bytes_agree(held) && is_acked(held);
}

void Connection::release(const Context& context, std::uint64_t arriving, Effects& out) {
  while (!held_.empty() && may_go(held_.front())) {
    let_go(context, held_.front(), arriving, out);
    held_.pop_front();
  }
  // A repetition of what the client should have needn't queue behind what it never had.
  if (!held_.empty() && held_.back().repeats && held_.back().frame.number == arriving && may_go(held_.back())) {
    let_go(context, held_.back(), arriving, out);
    held_.pop_back();
  }
}

void Connection::let_go(const Context& context, const HeldSegment& held, std::uint64_t arriving, Effects& out) {
  // Told again with each repetition of the SYN: on the link it may be lost.
  if (delta_due_ || ((held.flags & kSyn) != 0 && (seq_delta_ | ts_delta_) != 0)) {
    out.emplace_back(
        SetDelta{.flow = flow_, .seq_delta = seq_delta_, .ts_delta = ts_delta_, .svm_isn = svm_.isn.value_or(0)});
    delta_due_ = false;
  }
  if (held.numbers != 0 && (!released_ || seq_lt(*released_, held.end))) released_ = held.end;
  Release release{.id = held.frame.id, .window = {}};
  if ((held.flags & kRst) != 0) {
    // Without a stream a RST only refuses one segment: the SVM's stands for one of the PVM's.
    if (!stream_ && svm_.resets > 0) --svm_.resets;
  } else if ((held.flags & (kSyn | kAck)) == kAck) {
    release.window = window_.on_release(held.ack, held.window, released_.value_or(held.end), held.bytes);
  }
  out.emplace_back(release);
  ++context.stats.frames_released;
  --context.stats.frames_held;
  if (held.frame.number == arriving) ++context.stats.frames_released_on_arrival;
}

void Connection::update_window(const Context& context, Effects& out) {
  if (!held_.empty() || disagrees_) return;
  auto frame = window_.update(context.limits.window_update_bytes);
  if (!frame) return;
  out.emplace_back(SendFrame{std::move(*frame)});
  ++context.stats.window_updates;
}

Cause Connection::waits_for() const {
  return bytes_agree(held_.front()) && opened_ ? Cause::ack : Cause::stall;
}

}  // namespace twinstep::compare
