// SPDX-License-Identifier: Apache-2.0
#include "svm_input.hpp"

#include <algorithm>
#include <utility>

#include "core/compare/frame.hpp"

namespace twinstep::bench {
namespace {

using compare::kAck;
using compare::kFin;
using compare::kRst;
using compare::kSyn;
using compare::seq_le;
using compare::seq_lt;

constexpr std::size_t kTcpAck = 8;

void raise(std::uint32_t& to, std::uint32_t value) {
  if (seq_lt(to, value)) to = value;
}

bool is_pure_ack(const Segment& segment) {
  return segment.payload_bytes == 0 && (segment.flags & (kSyn | kFin | kRst)) == 0;
}

}  // namespace

void SvmInput::on_svm(std::span<const std::byte> frame) {
  const auto segment = parse_segment(frame, true);
  if (!segment) return;
  Connection& connection = connections_[segment->key];
  if (segment->has(kSyn)) {
    if (const auto shift = opened_(segment->key); shift != 0) connection.shift = shift;
    connection.svm_isn = segment->seq;
    connection.svm_syn_tsval = segment->tsval;
    connection.svm_scale = segment->window_scale;
    connection.svm_next = connection.acked = segment->seq + 1;
    connection.svm_edge = segment->ack + segment->window;
  } else if (connection.svm_isn) {
    raise(connection.svm_next, segment->end());
    if (segment->has(kAck))
      raise(connection.svm_edge, segment->ack + (std::uint32_t{segment->window} << connection.svm_scale));
  }
  enlist(connection);
}

void SvmInput::on_client(Bytes frame) {
  auto segment = parse_segment(frame, false);
  if (!segment) {
    if (take_room(frame.size())) others_.push_back(std::move(frame));
    return;
  }
  Connection& connection = connections_[segment->key];
  const bool begins = segment->has(kSyn) && !segment->has(kAck);
  if (begins || segment->has(kRst)) {
    for (const Waiting& old : connection.waiting) waiting_bytes_ -= old.frame.size();
    connection.waiting.clear();
  }
  if (begins) {
    const bool listed = connection.listed;
    connection = {};
    connection.listed = listed;
  }
  if (segment->has(kAck)) note_ack(connection, *segment);
  auto& waiting = connection.waiting;
  const bool replaces = is_pure_ack(*segment) && !waiting.empty() && is_pure_ack(waiting.back().segment) &&
                        waiting.back().segment.seq == segment->seq;
  if (replaces) {
    waiting_bytes_ -= waiting.back().frame.size();
    waiting.pop_back();
  }
  if (take_room(frame.size())) waiting.push_back({std::move(frame), *segment});
  enlist(connection);
}

/// Takes the room, or counts a frame that is lost for want of it.
bool SvmInput::take_room(std::size_t bytes) {
  if (waiting_bytes_ + bytes > waiting_bytes_max_) {
    ++dropped_;
    return false;
  }
  waiting_bytes_ += bytes;
  waiting_bytes_peak_ = std::max(waiting_bytes_peak_, waiting_bytes_);
  return true;
}

/// Makes the acknowledgement one in the PVM's numbers.
void SvmInput::note_ack(Connection& connection, Segment& segment) {
  const auto distance = [](std::uint32_t a, std::uint32_t b) { return std::min(a - b, b - a); };
  const std::uint32_t unshifted = segment.ack - connection.shift;
  // The client's first acknowledgement is of the SYN.
  if (!connection.pvm_isn)
    connection.pvm_isn = unshifted - 1;
  else if (distance(unshifted, connection.pvm_acked) > distance(segment.ack, connection.pvm_acked))
    return void(connection.pvm_acked = segment.ack);
  connection.pvm_acked = segment.ack = unshifted;
}

void SvmInput::enlist(Connection& connection) {
  if (!std::exchange(connection.listed, true)) listed_.push_back(&connection);
}

bool SvmInput::pump() {
  for (; !others_.empty(); others_.pop_front()) {
    if (!deliver_(others_.front())) return true;
    waiting_bytes_ -= others_.front().size();
  }
  while (!listed_.empty()) {
    if (pump(*listed_.back())) return true;
    listed_.back()->listed = false;
    listed_.pop_back();
  }
  return false;
}

bool SvmInput::pump(Connection& connection) {
  while (!connection.waiting.empty()) {
    Waiting& next = connection.waiting.front();
    const Segment& segment = next.segment;
    if (segment.has(kAck) && !segment.has(kRst)) {
      if (!connection.svm_isn) return false;
      if (!has_sent(connection, segment)) return acknowledge(connection);
      const bool fits = seq_le(segment.end(), connection.svm_edge);
      if (segment.payload_bytes != 0 && !segment.has(kSyn) && !fits) return false;
    }
    if (!give(connection, next)) return true;
    waiting_bytes_ -= next.frame.size();
    connection.waiting.pop_front();
  }
  return false;
}

bool SvmInput::has_sent(const Connection& connection, const Segment& segment) const {
  return seq_le(segment.ack - *connection.pvm_isn + *connection.svm_isn, connection.svm_next);
}

/// The client has all that the SVM has sent, and more. Returns whether the SVM had no room.
bool SvmInput::acknowledge(Connection& connection) {
  const Waiting& next = connection.waiting.front();
  if (next.segment.has(kSyn) || !seq_lt(connection.acked, connection.svm_next)) return false;
  if (!deliver_(make_ack(next.frame, next.segment, connection.svm_next))) return true;
  connection.acked = connection.svm_next;
  return false;
}

/// Returns whether there was room. Only once: the frame's numbers are changed.
bool SvmInput::give(Connection& connection, Waiting& next) {
  const Segment& segment = next.segment;
  if (!segment.has(kAck) || !connection.svm_isn || !connection.pvm_isn) return deliver_(next.frame);
  const std::uint32_t ack = segment.ack - *connection.pvm_isn + *connection.svm_isn;
  replace32(next.frame, segment, segment.tcp_offset + kTcpAck, ack);
  // Of a connection that the guest opens; it looks at this one only (RFC 7323, 5.4).
  if (segment.has(kSyn) && segment.tsecr_offset != 0 && connection.svm_syn_tsval)
    replace32(next.frame, segment, segment.tsecr_offset, *connection.svm_syn_tsval);
  if (!deliver_(next.frame)) return false;
  raise(connection.acked, ack);
  return true;
}

}  // namespace twinstep::bench
