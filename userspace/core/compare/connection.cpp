// SPDX-License-Identifier: Apache-2.0
#include "core/compare/connection.hpp"

#include "core/compare/record.hpp"

namespace twinstep::compare {
namespace {

using Outcome = std::optional<Disagreement>;

std::uint32_t numbers_of(const Frame& frame) {
  const std::uint8_t flags = frame.tcp.flags;
  const std::uint32_t events = ((flags & kSyn) != 0 ? 1U : 0U) + ((flags & kFin) != 0 ? 1U : 0U);
  return static_cast<std::uint32_t>(frame.payload.size()) + events;
}

bool reaches(const std::optional<std::uint32_t>& at, std::uint32_t wanted) {
  return at && seq_le(wanted, *at);
}

}  // namespace

Outcome Connection::on_pvm(const Context& context, const HeldFrame& held, const Frame& frame,
                           std::span<const std::byte> bytes) {
  const TcpSegment& segment = frame.tcp;
  pvm_.seen = true;
  pvm_.last_frame_ns = held.arrived_ns;
  hold(held, frame, bytes);
  if ((segment.flags & kAck) != 0) {
    if (!pvm_.ack || seq_lt(*pvm_.ack, segment.ack)) pvm_.ack = segment.ack;
    if ((segment.flags & (kSyn | kRst)) == 0) window_.on_pvm(segment.ack, segment.window);
  }
  if ((segment.flags & kRst) != 0) {
    pvm_.reset = true;
    return {};
  }
  return (segment.flags & kSyn) != 0 ? on_pvm_syn(context, frame) : on_pvm_segment(context, frame);
}

void Connection::hold(const HeldFrame& held, const Frame& frame, std::span<const std::byte> bytes) {
  const TcpSegment& segment = frame.tcp;
  const std::uint32_t numbers = numbers_of(frame);
  const std::uint32_t end = segment.seq + numbers;
  held_.push_back({.frame = held,
                   .numbers = numbers,
                   .end = end,
                   .ack = segment.ack,
                   .window = segment.window,
                   .flags = segment.flags,
                   .repeats = numbers != 0 && reaches(released_, end),
                   .bytes = bytes});
}

void Connection::note_highest(std::uint32_t end, std::uint8_t flags) {
  if ((flags & kFin) != 0) pvm_.fin_sent = true;
  if (seq_lt(pvm_.highest, end)) pvm_.highest = end;
}

Outcome Connection::on_pvm_syn(const Context& context, const Frame& frame) {
  const TcpSegment& segment = frame.tcp;
  if (pvm_.isn) return {};
  pvm_.isn = segment.seq;
  pvm_.tsval = segment.tsval;
  pvm_.syn_options = segment.syn_options;
  pvm_.is_signed = segment.is_signed;
  pvm_.highest = segment.seq + numbers_of(frame);
  window_.set_scale(segment.window_scale.value_or(0));
  opened_ = false;
  if (const Outcome outcome = start_stream(context, segment.seq + 1)) return outcome;
  if (const Outcome outcome = join_syns(context)) return outcome;
  // TCP Fast Open (RFC 7413).
  return judge(context,
               stream_->add(context.key, {.seq = segment.seq + 1, .payload = frame.payload, .digest = frame.digest}));
}

Outcome Connection::on_pvm_segment(const Context& context, const Frame& frame) {
  const TcpSegment& segment = frame.tcp;
  const std::uint32_t end = segment.seq + numbers_of(frame);
  if (!stream_) {
    pvm_.highest = segment.seq;
    base_guessed_ = true;
    if (const Outcome outcome = start_stream(context, segment.seq)) return outcome;
  }
  // What lies in front of a guessed base was never compared, nor is it known to be part of a checkpoint.
  if (base_guessed_ && end != segment.seq && seq_lt(segment.seq, stream_->base()))
    return Disagreement{Cause::base, "the primary sent bytes in front of the first ones seen"};
  note_highest(end, segment.flags);
  const Segment bytes{.seq = segment.seq, .payload = frame.payload, .digest = frame.digest};
  if (const Outcome outcome = judge(context, stream_->add(context.key, bytes))) return outcome;
  if ((segment.flags & kFin) == 0) return {};
  return judge(context, stream_->add_fin(context.key, bytes.end()));
}

Outcome Connection::start_stream(const Context& context, std::uint32_t base) {
  stream_.emplace(base, context.limits.boundaries_max);
  counted_ = base;
  // Of a connection that opens now, the SYN in front of the base is still to be released.
  released_ = pvm_.isn.value_or(base);
  return opened_ ? on_early_record(context) : Outcome{};
}

Outcome Connection::on_svm(const Context& context, const ts_record& record, Nanos now) {
  svm_.seen = true;
  if ((record.flags & TS_RECORD_ACK) != 0) on_svm_ack(record, now);
  if ((record.flags & TS_RECORD_RST) != 0) {
    ++svm_.resets;
    svm_.progress_ns = now;
    return {};
  }
  if ((record.flags & TS_RECORD_SYN) != 0) {
    svm_.progress_ns = now;
    return on_svm_syn(context, record);
  }
  if ((record.flags & TS_RECORD_BASE) == 0) return {};
  if (!stream_ || !opened_) {
    if (!svm_.early || seq_lt(svm_.early->seq_next, record.seq_next)) svm_.early = record;
    return {};
  }
  const std::uint32_t end_before = stream_->svm_end();
  const bool finished_before = stream_->svm_finished();
  const Outcome outcome = on_svm_stream(context, record);
  if (stream_->svm_end() != end_before || stream_->svm_finished() != finished_before) svm_.progress_ns = now;
  return outcome;
}

void Connection::on_svm_ack(const ts_record& record, Nanos now) {
  if (!svm_.ack || seq_lt(*svm_.ack, record.ack)) {
    svm_.ack = record.ack;
    svm_.progress_ns = now;
  }
  // The window of a SYN isn't scaled, and a RST's means nothing.
  if ((record.flags & (TS_RECORD_SYN | TS_RECORD_RST)) == 0) window_.on_svm(record.ack, record.window);
}

Outcome Connection::on_svm_syn(const Context& context, const ts_record& record) {
  if (svm_.isn) return {};
  svm_.isn = record.base;
  svm_.syn_options = record.digest_lo;
  if ((record.flags & TS_RECORD_TSVAL) != 0) svm_.tsval = record.tsval;
  return join_syns(context);
}

Outcome Connection::join_syns(const Context& context) {
  if (opened_ || !pvm_.isn || !svm_.isn) return {};
  if (pvm_.syn_options != svm_.syn_options) return Disagreement{Cause::content, "the options of the SYNs differ"};
  seq_delta_ = *svm_.isn - *pvm_.isn;
  if (pvm_.is_signed && seq_delta_ != 0)
    return Disagreement{Cause::content, "segments are signed, so their numbers can't be rewritten"};
  if (pvm_.tsval && svm_.tsval) ts_delta_ = *svm_.tsval - *pvm_.tsval;
  delta_due_ = seq_delta_ != 0 || ts_delta_ != 0;
  opened_ = true;
  return on_early_record(context);
}

Outcome Connection::on_early_record(const Context& context) {
  if (!svm_.early) return {};
  const ts_record early = *svm_.early;
  svm_.early.reset();
  return on_svm_stream(context, early);
}

Outcome Connection::on_svm_stream(const Context& context, const ts_record& record) {
  if (record.base - seq_delta_ != stream_->base())
    return Disagreement{Cause::base, "the two streams were first seen at different places"};
  const bool fin = (record.flags & TS_RECORD_FIN) != 0;
  const std::uint32_t end = record.seq_next - seq_delta_ - (fin ? 1U : 0U);
  return judge(context, stream_->add_boundary(context.key, end, digest_of(record), fin));
}

Outcome Connection::judge(const Context& context, VerifiedStream::Verdict verdict) {
  const std::uint32_t matched = stream_->verified() - counted_;
  counted_ += matched;
  bytes_matched_ += matched;
  context.stats.bytes_matched += matched;
  if (verdict == VerifiedStream::Verdict::agrees) return {};
  return Disagreement{Cause::content, "the streams differ"};
}

std::optional<FlowBase> Connection::begin_epoch(const Limits& limits, std::vector<HeldFrame>& closed) {
  for (const HeldSegment& held : held_) closed.push_back(held.frame);
  // They will tell the client the PVM's window, and more.
  if (!held_.empty()) window_.on_release_unlimited();
  held_.clear();
  if (!stream_ || pvm_.reset) return std::nullopt;

  const FlowBase base{.flow = flow_, .seq = pvm_.highest, .window_scale = window_.scale(), .fin_sent = pvm_.fin_sent};
  stream_ = base.fin_sent ? VerifiedStream::finished_at(base.seq - 1, limits.boundaries_max)
                          : VerifiedStream(base.seq, limits.boundaries_max);
  counted_ = stream_->verified();
  released_ = base.seq;
  svm_ = Svm{};
  svm_.seen = true;
  svm_.isn = pvm_.isn;
  svm_.ack = pvm_.ack;
  window_.join();
  opened_ = true;
  delta_due_ = base_guessed_ = disagrees_ = false;
  seq_delta_ = ts_delta_ = 0;
  return base;
}

FlowView Connection::view() const {
  FlowView view{.flow = flow_,
                .bytes_matched = bytes_matched_,
                .seq_delta = seq_delta_,
                .ts_delta = ts_delta_,
                .frames_held = held_.size(),
                .state = "agreeing"};
  if (disagrees_) {
    view.state = "diverged";
  } else if (!opened_) {
    view.state = "opening";
  } else if (is_closing()) {
    view.state = "closing";
  } else if (!held_.empty()) {
    view.state = "waiting";
  }
  return view;
}

}  // namespace twinstep::compare
