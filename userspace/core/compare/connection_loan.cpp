// SPDX-License-Identifier: Apache-2.0
// A connection in the hands of the XDP programs, and back (docs/decisions/0007-match-in-the-kernel.md).
#include <algorithm>

#include "bpf/abi/twinstep_match.h"
#include "core/compare/connection.hpp"
#include "core/compare/record.hpp"

namespace twinstep::compare {
namespace {

ts_residue residue_of(Digest digest) {
  return {.lo = static_cast<std::uint64_t>(digest), .hi = static_cast<std::uint32_t>(digest >> 64), .reserved = 0};
}

Digest digest_of(std::uint64_t lo, std::uint32_t hi) {
  return Digest{hi} << 64 | lo;
}

}  // namespace

bool Connection::may_lend() const {
  const bool runs = opened_ && !delta_due_ && !disagrees_ && held_.empty() && !pvm_.fin_sent && !pvm_.reset &&
                    svm_.resets == 0 && pvm_.ack && svm_.ack && stream_ && stream_->is_settled() && window_.is_free();
  return runs && (seq_lt(stream_->verified(), stream_->svm_end()) || seq_lt(*pvm_.ack, *svm_.ack));
}

void Connection::lend(ts_match_flow& to, bool fresh) const {
  to.seq_delta = seq_delta_;
  to.base = stream_->base();
  to.scale = window_.scale();
  to.next = stream_->verified();
  to.pvm_ack = *pvm_.ack;
  to.pvm_edge = window_.pvm_edge();
  to.cumulative = residue_of(stream_->cumulative());
  to.frames = to.bytes = 0;
  if (fresh) {
    to.svm_ack = *svm_.ack;
    to.svm_edge = window_.svm_edge();
    to.svm_end = to.next;
    to.head = 0;
    stream_->each_boundary([&to](std::uint32_t seq, Digest cumulative) {
      const ts_residue residue = residue_of(cumulative);
      to.boundaries[to.head++ % TS_MATCH_BOUNDARIES] = {residue.lo, residue.hi, seq};
      to.svm_end = seq;
    });
  }
  to.tail = to.head > TS_MATCH_BOUNDARIES ? to.head - TS_MATCH_BOUNDARIES : 0;
  while (to.tail != to.head && seq_le(to.boundaries[to.tail % TS_MATCH_BOUNDARIES].seq, to.next)) ++to.tail;
}

void Connection::take_back(const Context& context, const ts_match_flow& from, Nanos now) {
  pvm_.highest = from.next;
  pvm_.ack = ts_seq_max(*pvm_.ack, from.pvm_ack);
  pvm_.last_frame_ns = now;
  svm_.ack = ts_seq_max(*svm_.ack, __atomic_load_n(&from.svm_ack, __ATOMIC_RELAXED));
  svm_.progress_ns = now;
  window_.raise_edges(from.pvm_edge, __atomic_load_n(&from.svm_edge, __ATOMIC_RELAXED));
  released_ = counted_ = from.next;
  bytes_matched_ += from.bytes;
  context.stats.bytes_matched += from.bytes;
  context.stats.frames_in += from.frames;
  context.stats.frames_released += from.frames;
  context.stats.frames_released_on_arrival += from.frames;

  stream_->advance(from.next, digest_of(from.cumulative.lo, from.cumulative.hi));
  const std::uint32_t head = __atomic_load_n(&from.head, __ATOMIC_ACQUIRE);
  for (std::uint32_t at = head - std::min<std::uint32_t>(head - from.tail, TS_MATCH_BOUNDARIES - 1); at != head; ++at) {
    const ts_boundary boundary = from.boundaries[at % TS_MATCH_BOUNDARIES];
    // The link program may have begun another round meanwhile.
    __atomic_thread_fence(__ATOMIC_ACQUIRE);
    if (__atomic_load_n(&from.head, __ATOMIC_RELAXED) - at >= TS_MATCH_BOUNDARIES) continue;
    stream_->note_boundary(boundary.seq, digest_of(boundary.digest_lo, boundary.digest_hi));
  }
}

}  // namespace twinstep::compare
