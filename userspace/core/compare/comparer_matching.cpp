// SPDX-License-Identifier: Apache-2.0
// How frames of the PVM meet records of the SVM.
#include <algorithm>
#include <utility>

#include "core/compare/comparer_impl.hpp"
#include "core/compare/record.hpp"
#include "core/compare/settling.hpp"

namespace twinstep::compare {
namespace {

/// Of all held frames, the part that each kind of expendable ones may be before it asks for a checkpoint, and before
/// one is dropped. Two kinds leave a quarter to connections.
constexpr std::size_t kEighths = 8;
constexpr std::size_t kAskEighths = 2;
constexpr std::size_t kDropEighths = 3;

}  // namespace

Comparer::Impl::Entry& Comparer::Impl::entry_of(FlowId id, Effects& out) {
  if (Entry* entry = flows.find(id)) return *entry;
  Entry& entry = flows.create(id, Flow(), [&](Entry& old) {
    std::vector<HeldFrame> held;
    old.flow.take_held(held);
    half_open_held -= held.size();
    for (const HeldFrame& frame : held) drop(frame.id, out);
    std::erase(waiting, &old);
  });
  note_flows();
  return entry;
}

void Comparer::Impl::settle(Entry& entry) {
  if (!entry.half_open) return;
  half_open_held -= entry.flow.frames_held();
  flows.settle(entry, [this](Entry& old) {
    if (old.flow.holds() || old.flow.lent) return false;
    if (old.flow.listed) std::erase(waiting, &old);
    return true;
  });
  note_flows();
}

void Comparer::Impl::note_flows() {
  stats.flows = flows.size();
  stats.flows_half_open = flows.half_open();
}

void Comparer::Impl::drop(FrameId id, Effects& out) {
  out.emplace_back(Drop{id});
  ++stats.frames_expended;
  --stats.frames_held;
}

bool Comparer::Impl::is_full_of(std::size_t waiting_frames, Nanos now, Effects& out) {
  const std::size_t most = limits.held_frames_max;
  // While the SVM stands still no twin can come, so it says nothing that many wait.
  if (!clock.is_running()) return stats.frames_held > most;
  if (waiting_frames > most * kAskEighths / kEighths)
    ask_for_expendable(Cause::pressure, "many answers or datagrams have no twin", now, out);
  return waiting_frames > most * kDropEighths / kEighths || stats.frames_held > most;
}

void Comparer::Impl::on_tcp(const HeldFrame& held, const Frame& frame, std::span<const std::byte> bytes, Effects& out) {
  Entry& entry = entry_of(frame.flow_id, out);
  if (settles(frame.tcp.flags)) settle(entry);
  if (entry.half_open && is_full_of(half_open_held + 1, held.arrived_ns, out)) return drop(held.id, out);
  Flow& flow = entry.flow;
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
  if (entry.half_open) ++half_open_held;
  release(entry, held.number, out);
  if (flow.listed || !flow.holds()) return;
  flow.listed = true;
  waiting.push_back(&entry);
  if (!next_check) next_check = clock.earliest_deadline(held.arrived_ns);
}

void Comparer::Impl::on_tcp_record(const ts_record& record, Nanos now, Effects& out) {
  Entry& entry = entry_of(record.flow_id, out);
  if (settles(record)) settle(entry);
  Flow& flow = entry.flow;
  Connection* connection = flow.at_svm(record);
  if (connection == nullptr) {
    diverge(Cause::pressure, flow.name() + ": the port was used again too often", out);
    return;
  }
  if (const auto disagreement = connection->on_svm(context(), record, now))
    disagree(*connection, flow, *disagreement, out);
  release(entry, 0, out);
  if (lent >= limits.lent_flows_max || entry.half_open || flow.offered || !flow.may_lend()) return;
  flow.offered = true;
  offers.push_back(record.flow_id);
}

void Comparer::Impl::on_whole(const HeldFrame& held, const Frame& frame, Effects& out) {
  const auto identity = WholeIdentity::of(frame);
  if (frame.has_twin) whole.add_svm(identity);
  whole.add_pvm(identity, held);
  if (!next_check) next_check = clock.earliest_deadline(held.arrived_ns);
  if (committed) {
    if (const auto matched = whole.match(identity)) release_whole(*matched, held.number, out);
  }
  if (whole.size() > 0 && is_full_of(whole.size(), held.arrived_ns, out)) drop(whole.take_oldest()->id, out);
}

void Comparer::Impl::on_whole_record(const ts_record& record, Effects& out) {
  const auto identity = WholeIdentity::of(record);
  whole.add_svm(identity);
  if (!committed) return;
  if (const auto matched = whole.match(identity)) release_whole(*matched, 0, out);
}

void Comparer::Impl::release(Entry& entry, std::uint64_t arriving, Effects& out) {
  if (!committed) return;
  const std::uint64_t held_before = stats.frames_held;
  entry.flow.release(context(), arriving, out);
  if (entry.half_open) half_open_held -= held_before - stats.frames_held;
  entry.flow.update_window(context(), out);
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
  flows.for_each([&](Entry& entry) { entry.flow.take_held(held); });
  whole.take_held(held);
  closed.clear();
  stats.frames_held = half_open_held = 0;
  std::sort(held.begin(), held.end(), [](const auto& a, const auto& b) { return a.number < b.number; });
  return held;
}

void Comparer::Impl::forget() {
  flows.clear();
  note_flows();
  restart();
}

void Comparer::Impl::restart() {
  waiting.clear();
  half_open_held = 0;
  offers.clear();
  lent = 0;
  next_check.reset();
  clock.stop();
  committed = diverged = false;
}

}  // namespace twinstep::compare
