// SPDX-License-Identifier: Apache-2.0
#include "core/compare/comparer.hpp"

#include <algorithm>

#include "core/compare/comparer_impl.hpp"
#include "core/compare/record.hpp"

namespace twinstep::compare {
namespace {

/// A client whose FIN wasn't answered has repeated it several times by then (RFC 6298: from 1 s on at most, Linux from
/// 0.2 s). What a connection says later is compared as that of an unknown one, which costs a checkpoint at worst. Each
/// checkpoint takes all connections along, so those of the whole TIME_WAIT would make it long.
constexpr Nanos kClosedFlowNs = 5 * kSecond;

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
  }
  return "unknown";
}

Comparer::Impl::Impl(DigestKey digest_key, const Limits& comparer_limits)
    : key(digest_key),
      limits(comparer_limits),
      flows(comparer_limits.flows_max, comparer_limits.half_open_flows_max),
      whole(comparer_limits.flows_max),
      clock(comparer_limits.grace_ns),
      expendable_asks(comparer_limits.expendable_burst, comparer_limits.expendable_refill_ns) {}

Comparer::Comparer(DigestKey key, Limits limits) : impl_(std::make_unique<Impl>(key, limits)) {}
Comparer::~Comparer() = default;
Comparer::Comparer(Comparer&&) noexcept = default;
Comparer& Comparer::operator=(Comparer&&) noexcept = default;

void Comparer::on_frame(FrameId id, const Frame& frame, std::span<const std::byte> bytes, Nanos now, Effects& out) {
  Stats& stats = impl_->stats;
  const HeldFrame held{.id = id, .number = ++stats.frames_in, .arrived_ns = now};
  ++stats.frames_held;
  if (frame.cls == TS_CLASS_SOFT) {
    impl_->release_whole(held, held.number, out);
    return;
  }
  if (frame.cls == TS_CLASS_TCP) {
    impl_->on_tcp(held, frame, bytes, out);
  } else {
    impl_->on_whole(held, frame, out);
  }
  if (stats.frames_held >= impl_->limits.held_frames_max)
    impl_->diverge(Cause::pressure, "held frames reached their limit of " + std::to_string(stats.frames_held), out);
}

void Comparer::on_record(const ts_record& record, std::uint32_t epoch, Nanos now, Effects& out) {
  ++impl_->stats.records_in;
  if (epoch != impl_->epoch) {
    ++impl_->stats.records_stale;
    return;
  }
  // Deadlines may be earlier than when they were last looked at.
  if (impl_->clock.on_output(now) && impl_->next_check) impl_->next_check = now;
  if (record.type == TS_RECORD_TCP) {
    impl_->on_tcp_record(record, now, out);
  } else if (record.type == TS_RECORD_WHOLE) {
    impl_->on_whole_record(record, out);
  }
}

std::vector<FlowBase> Comparer::begin_epoch(std::uint32_t epoch, Nanos now) {
  std::vector<HeldFrame> closing;
  std::vector<FlowBase> bases;
  bases.reserve(impl_->flows.size());
  impl_->flows.erase_if([&](Flow& flow) {
    const auto base = flow.begin_epoch(impl_->limits, closing);
    const Connection& connection = flow.newest_of_pvm();
    if (!base || (connection.is_closing() && now - connection.last_frame_ns() > kClosedFlowNs)) return true;
    bases.push_back(*base);
    return false;
  });
  impl_->whole.take_held(closing);
  std::sort(closing.begin(), closing.end(), [](const auto& a, const auto& b) { return a.number < b.number; });
  for (const HeldFrame& frame : closing) impl_->closed.push_back({frame, impl_->epoch});

  impl_->note_flows();
  impl_->restart();
  impl_->epoch = epoch;
  return bases;
}

void Comparer::commit(std::uint32_t epoch, Effects& out) {
  Stats& stats = impl_->stats;
  std::vector<Impl::Closed>& closed = impl_->closed;
  const auto of_earlier = [&](const Impl::Closed& entry) { return seq_lt(entry.epoch, epoch); };
  const auto rest = std::stable_partition(closed.begin(), closed.end(), of_earlier);
  for (auto entry = closed.begin(); entry != rest; ++entry)
    out.emplace_back(Release{.id = entry->frame.id, .window = {}});
  const auto released = static_cast<std::uint64_t>(rest - closed.begin());
  stats.frames_released_by_commit += released;
  stats.frames_held -= released;
  closed.erase(closed.begin(), rest);

  if (epoch != impl_->epoch) return;
  impl_->committed = true;
  impl_->flows.for_each([&](Impl::Entry& entry) { impl_->release(entry, 0, out); });
  for (const HeldFrame& frame : impl_->whole.match_all()) impl_->release_whole(frame, 0, out);
}

void Comparer::release_all(Effects& out) {
  for (const HeldFrame& frame : impl_->take_all_held()) {
    out.emplace_back(Release{.id = frame.id, .window = {}});
    ++impl_->stats.frames_released_by_commit;
  }
  impl_->forget();
}

std::vector<FrameId> Comparer::discard() {
  const auto held = impl_->take_all_held();
  impl_->stats.frames_dropped += held.size();
  impl_->forget();
  std::vector<FrameId> ids(held.size());
  std::transform(held.begin(), held.end(), ids.begin(), [](const HeldFrame& frame) { return frame.id; });
  return ids;
}

std::uint32_t Comparer::epoch() const {
  return impl_->epoch;
}

const Stats& Comparer::stats() const {
  return impl_->stats;
}

std::vector<FlowView> Comparer::flows() const {
  std::vector<FlowView> views;
  views.reserve(impl_->flows.size());
  impl_->flows.for_each([&](const Impl::Entry& entry) {
    if (entry.flow.key()) views.push_back(entry.flow.newest_of_pvm().view());
  });
  return views;
}

}  // namespace twinstep::compare
