// SPDX-License-Identifier: Apache-2.0
// How long the PVM's frames may wait (rule 9).
#include <algorithm>

#include "core/compare/comparer_impl.hpp"

namespace twinstep::compare {

void Comparer::set_hold(Nanos hold_ns) {
  impl_->clock.set_hold(hold_ns);
  // Deadlines may be earlier than when they were last looked at.
  if (impl_->next_check) impl_->next_check = 0;
}

void Comparer::svm_running(std::uint32_t epoch, Nanos now) {
  if (epoch == impl_->epoch) impl_->clock.run(now);
}

std::optional<Nanos> Comparer::next_deadline() const {
  if (!impl_->clock.is_running() || impl_->diverged) return std::nullopt;
  return impl_->next_check;
}

void Comparer::on_tick(Nanos now, Effects& out) {
  const auto deadline = next_deadline();
  if (!deadline || now < *deadline) return;
  impl_->next_check.reset();
  impl_->check_flows(now, out);
  impl_->check_whole(now, out);
}

std::optional<Nanos> Comparer::Impl::deadline_of(const Flow& flow) const {
  if (!flow.holds()) return std::nullopt;
  const Connection& connection = flow.waiting();
  return clock.deadline(connection.held().front().frame.arrived_ns, connection.progress_ns());
}

void Comparer::Impl::check_flows(Nanos now, Effects& out) {
  const auto idle = [&](Entry* entry) {
    Flow& flow = entry->flow;
    const auto deadline = deadline_of(flow);
    if (!deadline) {
      flow.listed = false;
      return true;
    }
    if (*deadline > now) {
      check_at(*deadline);
    } else if (entry->half_open) {
      ask_for_expendable(flow.waiting().waits_for(), flow.name() + " waits for an answer's twin", now, out);
    } else {
      const Connection& connection = flow.waiting();
      diverge(connection.waits_for(), flow.name() + " waits at offset " + std::to_string(connection.offset()), out);
    }
    return false;
  };
  waiting.erase(std::remove_if(waiting.begin(), waiting.end(), idle), waiting.end());
}

void Comparer::Impl::check_whole(Nanos now, Effects& out) {
  const auto oldest = whole.oldest();
  if (!oldest) return;
  const Nanos deadline = clock.deadline(oldest->arrived_ns);
  if (deadline > now) return check_at(deadline);
  ask_for_expendable(Cause::datagram, "a datagram of the primary has no twin", now, out);
}

void Comparer::Impl::check_at(Nanos when) {
  next_check = std::min(next_check.value_or(when), when);
}

void Comparer::Impl::ask_for_expendable(Cause cause, std::string detail, Nanos now, Effects& out) {
  if (diverged) return;
  if (expendable_asks.take(now)) return diverge(cause, std::move(detail), out);
  check_at(expendable_asks.next(now));
}

}  // namespace twinstep::compare
