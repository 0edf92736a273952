// SPDX-License-Identifier: Apache-2.0
#include "core/compare/stream.hpp"

namespace twinstep::compare {
namespace {

/// The part [begin, end) of a segment that covers it.
Segment cut(const DigestKey& key, const Segment& segment, std::uint32_t begin, std::uint32_t end) {
  if (begin == segment.seq && end == segment.end()) return segment;
  const auto payload = segment.payload.subspan(begin - segment.seq, end - begin);
  return {.seq = begin, .payload = payload, .digest = key.of(payload)};
}

}  // namespace

void Stream::insert(const DigestKey& key, const Segment& segment) {
  const std::uint32_t end = segment.end();
  std::uint32_t at = seq_lt(segment.seq, next_) ? next_ : segment.seq;
  std::size_t i = 0;
  while (seq_lt(at, end)) {
    while (i < waiting_.size() && seq_le(waiting_[i].end(), at)) ++i;
    const bool more = i < waiting_.size();
    if (more && seq_le(waiting_[i].seq, at)) {
      at = waiting_[i].end();
      continue;
    }
    // The segment that fills the gap must get in even when the list is full.
    if (waiting_.size() >= segments_max_ && at != next_) return;
    const std::uint32_t stop = more && seq_lt(waiting_[i].seq, end) ? waiting_[i].seq : end;
    waiting_.insert(waiting_.begin() + static_cast<std::ptrdiff_t>(i), cut(key, segment, at, stop));
    at = stop;
  }
}

}  // namespace twinstep::compare
