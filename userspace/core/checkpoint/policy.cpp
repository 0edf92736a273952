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
    case Cause::epoch_limit:
      return "epoch_limit";
    case Cause::initial:
      return "initial";
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
  }
  return Cause::content;
}

Policy::Policy(PolicyLimits limits) : limits_(limits), hold_ns_(limits.hold_initial_ns) {}

void Policy::on_epoch_started(Nanos now) {
  epoch_started_ns_ = now;
  epoch_open_ = true;
  pending_.reset();
}

void Policy::on_diverged(compare::Cause cause, Nanos /*now*/) {
  if (epoch_open_ && !pending_) pending_ = from(cause);
}

void Policy::on_checkpoint_done(Cause cause, Nanos requested_at, Nanos now) {
  const Nanos cost = now - requested_at;
  cost_ns_ = cost_ns_ == 0 ? cost : (3 * cost_ns_ + cost) / 4;
  const bool storm = epoch_open_ && is_missing_twin(cause) && requested_at - epoch_started_ns_ < kShortEpoch;
  // The first synchronisation's cost says nothing about a checkpoint's.
  const Nanos measured = cause == Cause::initial ? limits_.hold_initial_ns : cost_ns_ + cost_ns_ / 2;
  if (cause == Cause::initial) cost_ns_ = 0;
  hold_ns_ = std::clamp(storm ? std::max(2 * hold_ns_, measured) : measured, limits_.hold_min_ns, limits_.hold_max_ns);
  epoch_open_ = false;
  pending_.reset();
}

std::optional<Cause> Policy::due(Nanos now) const {
  if (!epoch_open_) return {};
  if (pending_) return pending_;
  if (now - epoch_started_ns_ >= limits_.epoch_max_ns) return Cause::epoch_limit;
  return {};
}

std::optional<Nanos> Policy::next_deadline() const {
  if (!epoch_open_) return {};
  return epoch_started_ns_ + limits_.epoch_max_ns;
}

Nanos Policy::hold_ns() const {
  return hold_ns_;
}

}  // namespace twinstep::checkpoint
