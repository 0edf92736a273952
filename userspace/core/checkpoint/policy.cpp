// SPDX-License-Identifier: Apache-2.0
#include "core/checkpoint/policy.hpp"

#include <algorithm>

namespace twinstep::checkpoint {
namespace {

constexpr Nanos kShortEpoch = kSecond;  // an epoch that a missing twin ended sooner was a storm's, not the workload's

/// The SVM was late, which says nothing about the content.
bool is_missing_twin(Cause cause) {
  return cause == Cause::stall || cause == Cause::ack || cause == Cause::datagram;
}

bool is_disagreement(Cause cause) {
  return is_missing_twin(cause) || cause == Cause::content || cause == Cause::base;
}

}  // namespace

const char* to_string(Cause cause) {
  switch (cause) {
    case Cause::content:
      return "content";
    case Cause::stall:
      return "stall";
    case Cause::ack:
      return "ack";
    case Cause::datagram:
      return "datagram";
    case Cause::base:
      return "base";
    case Cause::pressure:
      return "pressure";
    case Cause::output:
      return "output";
    case Cause::epoch_limit:
      return "epoch_limit";
    case Cause::initial:
      return "initial";
    case Cause::mode:
      return "mode";
  }
  return "unknown";
}

Cause from(compare::Cause cause) {
  switch (cause) {
    case compare::Cause::content:
      return Cause::content;
    case compare::Cause::stall:
      return Cause::stall;
    case compare::Cause::ack:
      return Cause::ack;
    case compare::Cause::datagram:
      return Cause::datagram;
    case compare::Cause::base:
      return Cause::base;
    case compare::Cause::pressure:
      return Cause::pressure;
    case compare::Cause::output:
      return Cause::output;
  }
  return Cause::content;
}

Policy::Policy(PolicyLimits limits, Mode mode)
    : limits_(limits), chooser_(mode, limits.mode), hold_ns_(limits.hold_initial_ns) {}

void Policy::on_epoch_started(bool compared, Nanos now) {
  epoch_started_ns_ = now;
  epoch_open_ = true;
  compared_ = compared;
  output_waits_ = false;
  pending_.reset();
}

void Policy::on_diverged(compare::Cause cause, Nanos /*now*/) {
  if (!epoch_open_) return;
  if (cause == compare::Cause::output) {
    output_waits_ = !compared_;
  } else if (!pending_) {
    pending_ = from(cause);
  }
}

bool Policy::on_checkpoint_begun(Cause cause, Nanos now) {
  begun_at_ns_ = now;
  if (epoch_open_ && compared_) {
    const Nanos still_ns = is_missing_twin(cause) ? hold_ns_ : 0;
    chooser_.on_compared_epoch(is_disagreement(cause), now - epoch_started_ns_ - still_ns, now);
  }
  next_compared_ = chooser_.compares(now);
  return next_compared_;
}

void Policy::on_pause_done(Nanos now) {
  pause_done_at_ns_ = now;
}

void Policy::on_checkpoint_done(Cause cause, Nanos requested_at, Nanos now) {
  const Nanos cost = now - requested_at;
  const bool storm = epoch_open_ && is_missing_twin(cause) && requested_at - epoch_started_ns_ < kShortEpoch;
  // What it costs to begin or end the comparison says nothing about it.
  const bool measures = compared_ && next_compared_ && cause != Cause::initial;
  epoch_open_ = false;
  pending_.reset();
  if (!measures) return;
  cost_ns_ = cost_ns_ == 0 ? cost : (3 * cost_ns_ + cost) / 4;
  const Nanos measured = cost_ns_ + cost_ns_ / 2;
  hold_ns_ = std::clamp(storm ? std::max(2 * hold_ns_, measured) : measured, limits_.hold_min_ns, limits_.hold_max_ns);
}

Nanos Policy::output_due_at() const {
  if (chooser_.mode() == Mode::periodic) return begun_at_ns_ + limits_.period_ns;
  return pause_done_at_ns_ + (pause_done_at_ns_ - begun_at_ns_);
}

std::optional<Cause> Policy::due(Nanos now) const {
  if (!epoch_open_) return {};
  if (pending_) return pending_;
  if (chooser_.compares(now) != compared_) return Cause::mode;
  if (output_waits_ && now >= output_due_at()) return Cause::output;
  if (now - epoch_started_ns_ >= limits_.epoch_max_ns) return Cause::epoch_limit;
  return {};
}

std::optional<Nanos> Policy::next_deadline() const {
  if (!epoch_open_) return {};
  Nanos next = epoch_started_ns_ + limits_.epoch_max_ns;
  if (output_waits_) next = std::min(next, output_due_at());
  if (const auto change = chooser_.next_change(epoch_started_ns_); change && !compared_) next = std::min(next, *change);
  return next;
}

Nanos Policy::hold_ns() const {
  return hold_ns_;
}

}  // namespace twinstep::checkpoint
