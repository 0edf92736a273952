// SPDX-License-Identifier: Apache-2.0
#include "core/compare/svm_tracker.hpp"

#include <utility>

#include "core/compare/flow_table.hpp"
#include "core/compare/record.hpp"
#include "core/compare/settling.hpp"
#include "core/compare/stream.hpp"

namespace twinstep::compare {
namespace {

struct Flow {
  FlowKey key;
  std::optional<Stream> stream;
  std::optional<std::uint32_t> isn;  ///< of a SYN that the SVM sent in this epoch
  std::optional<std::uint32_t> tsval;

  bool is_retransmitted_syn(std::uint32_t seq) const {
    // Of a connection from before the epoch only the base is known; nothing but its SYN's repetition lies in front of
    // it.
    return isn ? *isn == seq : stream && stream->base() == seq + 1;
  }
};

constexpr auto kIgnoreAppend = [](const Segment&, Digest) {};

std::uint32_t stream_end(const Stream& stream) {
  return stream.next() + (stream.finished() ? 1U : 0U);
}

/// What the record says of the segment itself.
ts_record describe(const Frame& frame) {
  const TcpSegment& segment = frame.tcp;
  ts_record record{};
  record.type = TS_RECORD_TCP;
  record.flow_id = frame.flow_id;
  if ((segment.flags & kRst) != 0) record.flags |= TS_RECORD_RST;
  if ((segment.flags & kAck) != 0) {
    record.flags |= TS_RECORD_ACK;
    record.ack = segment.ack;
    record.window = segment.window;
  }
  if (segment.tsval) {
    record.flags |= TS_RECORD_TSVAL;
    record.tsval = *segment.tsval;
  }
  return record;
}

/// What the record says of the stream so far.
void state_stream(const Stream& stream, ts_record& record) {
  record.flags |= TS_RECORD_BASE;
  if (stream.finished()) record.flags |= TS_RECORD_FIN;
  record.base = stream.base();
  record.seq_next = stream_end(stream);
  set_digest(record, stream.cumulative());
}

}  // namespace

struct SvmTracker::Impl {
  Impl(DigestKey digest_key, SvmTracker::Limits tracker_limits)
      : key(digest_key), limits(tracker_limits), flows(tracker_limits.flows_max, tracker_limits.half_open_flows_max) {}

  /// settled: the SVM has a connection there.
  Flow& flow_of(const FlowKey& flow_key, FlowId id, bool settled) {
    auto& entry = entry_of(flow_key, id);
    if (settled) flows.settle(entry, [](const auto&) { return true; });
    return entry.flow;
  }

  FlowTable<Flow>::Entry& entry_of(const FlowKey& flow_key, FlowId id) {
    if (auto* entry = flows.find(id)) return *entry;
    Flow flow;
    flow.key = flow_key;
    return flows.create(id, std::move(flow), [](const auto&) {});
  }

  ts_record on_syn(const Frame& frame, Flow& flow) {
    const TcpSegment& segment = frame.tcp;
    if (!flow.is_retransmitted_syn(segment.seq)) {
      flow.stream.emplace(segment.seq + 1, limits.segments_max);
      flow.isn = segment.seq;
    }
    // TCP Fast Open (RFC 7413).
    flow.stream->add(key, {.seq = segment.seq + 1, .payload = frame.payload, .digest = frame.digest}, kIgnoreAppend);
    ts_record record = describe(frame);
    record.flags |= TS_RECORD_SYN;
    record.base = segment.seq;
    record.seq_next = segment.seq + 1;
    set_digest(record, segment.syn_options);
    return record;
  }

  ts_record on_segment(const Frame& frame, Flow& flow) {
    const TcpSegment& segment = frame.tcp;
    const bool reset = (segment.flags & kRst) != 0;
    // The number in a RST may be the peer's idea of it: it says nothing of where the stream is.
    if (!flow.stream && !reset) flow.stream.emplace(segment.seq, limits.segments_max);
    if (flow.stream && !reset) {
      const Segment bytes{.seq = segment.seq, .payload = frame.payload, .digest = frame.digest};
      flow.stream->add(key, bytes, kIgnoreAppend);
      if ((segment.flags & kFin) != 0) flow.stream->add_fin(bytes.end());
    }
    ts_record record = describe(frame);
    if (flow.stream) state_stream(*flow.stream, record);
    return record;
  }

  std::optional<ts_record> on_tcp(const Frame& frame) {
    Flow& flow = flow_of(frame.flow, frame.flow_id, settles(frame.tcp.flags));
    // Two flows with one number: the second stays unsaid, and what the PVM sends of it waits for a checkpoint.
    if (flow.key != frame.flow) return std::nullopt;
    if (frame.tcp.tsval) flow.tsval = frame.tcp.tsval;
    return (frame.tcp.flags & kSyn) != 0 ? on_syn(frame, flow) : on_segment(frame, flow);
  }

  DigestKey key;
  SvmTracker::Limits limits;
  FlowTable<Flow> flows;
  std::uint32_t epoch = 0;
};

SvmTracker::SvmTracker(DigestKey key, Limits limits) : impl_(std::make_unique<Impl>(key, limits)) {}
SvmTracker::~SvmTracker() = default;
SvmTracker::SvmTracker(SvmTracker&&) noexcept = default;
SvmTracker& SvmTracker::operator=(SvmTracker&&) noexcept = default;

void SvmTracker::begin_epoch(std::uint32_t epoch, std::span<const FlowBase> bases) {
  impl_->epoch = epoch;
  impl_->flows.clear();
  for (const FlowBase& base : bases) {
    Flow& flow = impl_->flow_of(base.flow, impl_->key.flow_id(base.flow), true);
    const std::size_t segments_max = impl_->limits.segments_max;
    flow.stream = base.fin_sent ? Stream::finished_at(base.seq - 1, segments_max) : Stream(base.seq, segments_max);
  }
}

std::optional<ts_record> SvmTracker::on_frame(const Frame& frame) {
  switch (frame.cls) {
    case TS_CLASS_SOFT:
      return std::nullopt;
    case TS_CLASS_TCP:
      return impl_->on_tcp(frame);
    case TS_CLASS_DATAGRAM:
    case TS_CLASS_ARP:
    case TS_CLASS_OTHER:
      return to_record(WholeIdentity::of(frame));
  }
  return std::nullopt;
}

std::optional<ts_record> SvmTracker::fast_open(const Frame& frame) {
  if (frame.cls != TS_CLASS_TCP || (frame.tcp.flags & kSyn) == 0 || frame.payload.empty()) return std::nullopt;
  const auto* entry = impl_->flows.find(frame.flow_id);
  if (entry == nullptr || entry->flow.key != frame.flow || !entry->flow.stream) return std::nullopt;
  ts_record record = describe(frame);
  state_stream(*entry->flow.stream, record);
  return record;
}

std::uint32_t SvmTracker::epoch() const {
  return impl_->epoch;
}

std::vector<SvmFlow> SvmTracker::flows() const {
  std::vector<SvmFlow> flows;
  flows.reserve(impl_->flows.size());
  impl_->flows.for_each([&](const auto& entry) {
    const Flow& flow = entry.flow;
    if (flow.stream) flows.push_back({.flow = flow.key, .tsval = flow.tsval, .seq_next = stream_end(*flow.stream)});
  });
  return flows;
}

}  // namespace twinstep::compare
