// SPDX-License-Identifier: Apache-2.0
// How frames of the PVM meet records of the SVM.
#include <algorithm>
#include <utility>

#include "core/compare/comparer_impl.hpp"
#include "core/compare/record.hpp"

namespace twinstep::compare {
Flow& Comparer::Impl::flow_of(FlowId id) {
  if (Flow* flow = flows.find(id)) return *flow;
  Flow& flow = flows.create(id, Flow(), [this](Flow& old) {
    if (old.holds()) return false;
    if (old.listed) std::erase(waiting, &old);
    return true;
  });
  stats.flows = flows.size();
  return flow;
}

void Comparer::Impl::on_tcp(const HeldFrame& held, const Frame& frame, std::span<const std::byte> bytes, Effects& out) {
  Flow& flow = flow_of(frame.flow_id);
  const bool own = flow.take(frame.flow);
  Connection* connection = flow.at_pvm(frame.tcp);
  if (!own) {
    // Held with the flow that has the number, which agrees with nothing any more in this epoch.
    connection = &flow.newest_of_pvm();
    disagree(*connection, flow, {Cause::pressure, "another flow has the same number on the link"}, out);
  } else if (connection == nullptr) {
    // Held with the newest connection, which then waits for the checkpoint as a whole.
    connection = &flow.newest_of_pvm();
    disagree(*connection, flow, {Cause::pressure, "the port was used again too often"}, out);
  }
  if (const auto disagreement = connection->on_pvm(context(), held, frame, bytes))
    disagree(*connection, flow, *disagreement, out);
  release(flow, held.number, out);
  if (flow.listed || !flow.holds()) return;
  flow.listed = true;
  waiting.push_back(&flow);
  if (!next_check) next_check = clock.earliest_deadline(held.arrived_ns);
}

void Comparer::Impl::on_tcp_record(const ts_record& record, Nanos now, Effects& out) {
  Flow& flow = flow_of(record.flow_id);
  Connection* connection = flow.at_svm(record);
  if (connection == nullptr) {
    diverge(Cause::pressure, flow.name() + ": the port was used again too often", out);
    return;
  }
  if (const auto disagreement = connection->on_svm(context(), record, now))
    disagree(*connection, flow, *disagreement, out);
  release(flow, 0, out);
}

void Comparer::Impl::on_whole(const HeldFrame& held, const Frame& frame, Effects& out) {
  const auto identity = WholeIdentity::of(frame);
  whole.add_pvm(identity, held);
  if (!next_check) next_check = clock.earliest_deadline(held.arrived_ns);
  if (!committed) return;
  if (const auto matched = whole.match(identity)) release_whole(*matched, held.number, out);
}

void Comparer::Impl::on_whole_record(const ts_record& record, Effects& out) {
  const auto identity = WholeIdentity::of(record);
  if (!whole.add_svm(identity)) {
    diverge(Cause::pressure, "the secondary sent too many frames that the primary did not", out);
    return;
  }
  if (!committed) return;
  if (const auto matched = whole.match(identity)) release_whole(*matched, 0, out);
}

void Comparer::Impl::release(Flow& flow, std::uint64_t arriving, Effects& out) {
  if (!committed) return;
  flow.release(context(), arriving, out);
  flow.update_window(context(), out);
}

void Comparer::Impl::release_whole(const HeldFrame& held, std::uint64_t arriving, Effects& out) {
  out.emplace_back(Release{.id = held.id, .window = {}});
  ++stats.frames_released;
  --stats.frames_held;
  if (held.number == arriving) ++stats.frames_released_on_arrival;
}

void Comparer::Impl::diverge(Cause cause, std::string detail, Effects& out) {
  if (std::exchange(diverged, true)) return;
  out.emplace_back(Diverged{.cause = cause, .detail = std::move(detail)});
}

void Comparer::Impl::disagree(Connection& connection, const Flow& flow, const Disagreement& disagreement,
                              Effects& out) {
  connection.give_up();
  if (diverged) return;
  diverge(disagreement.cause,
          flow.name() + " at offset " + std::to_string(connection.offset()) + ": " + disagreement.what, out);
}

std::vector<HeldFrame> Comparer::Impl::take_all_held() {
  std::vector<HeldFrame> held;
  held.reserve(stats.frames_held);
  for (const Closed& entry : closed) held.push_back(entry.frame);
  for (auto& [flow_key, flow] : flows) flow.take_held(held);
  whole.take_held(held);
  closed.clear();
  stats.frames_held = 0;
  std::sort(held.begin(), held.end(), [](const auto& a, const auto& b) { return a.number < b.number; });
  return held;
}

void Comparer::Impl::forget() {
  flows.clear();
  stats.flows = 0;
  restart();
}

void Comparer::Impl::restart() {
  waiting.clear();
  next_check.reset();
  clock.stop();
  committed = diverged = false;
}

}  // namespace twinstep::compare
