// SPDX-License-Identifier: Apache-2.0
#include "core/compare/verified_stream.hpp"

#include <algorithm>

namespace twinstep::compare {
namespace {

/// The PVM's own segments that wait for a gap; their frames are held, so the bound of held frames bounds them too.
constexpr std::size_t kSegmentsMax = 1024;

}  // namespace

VerifiedStream::VerifiedStream(std::uint32_t base, std::size_t boundaries_max)
    : stream_(base, kSegmentsMax), boundaries_max_(boundaries_max), verified_(base), svm_end_(base) {}

VerifiedStream VerifiedStream::finished_at(std::uint32_t base, std::size_t boundaries_max) {
  VerifiedStream stream(base, boundaries_max);
  stream.stream_.add_fin(base);
  stream.svm_fin_ = base;
  stream.fin_verified_ = true;
  return stream;
}

VerifiedStream::Verdict VerifiedStream::add(const DigestKey& key, const Segment& segment) {
  stream_.add(key, segment, [this](const Segment& appended, Digest before) { runs_.push_back({appended, before}); });
  return check(key);
}

VerifiedStream::Verdict VerifiedStream::add_fin(const DigestKey& key, std::uint32_t seq) {
  stream_.add_fin(seq);
  return check(key);
}

VerifiedStream::Verdict VerifiedStream::add_boundary(const DigestKey& key, std::uint32_t seq, Digest cumulative,
                                                     bool fin) {
  if (fin) svm_fin_ = seq;
  note_boundary(seq, cumulative);
  return check(key);
}

void VerifiedStream::note_boundary(std::uint32_t seq, Digest cumulative) {
  if (seq_lt(svm_end_, seq)) svm_end_ = seq;
  if (seq_lt(verified_, seq)) {
    const auto at =
        std::lower_bound(boundaries_.begin(), boundaries_.end(), seq,
                         [](const Boundary& boundary, std::uint32_t wanted) { return seq_lt(boundary.seq, wanted); });
    if (at == boundaries_.end()) {
      boundaries_.push_back({seq, cumulative});
    } else if (at->seq != seq) {
      boundaries_.insert(at, {seq, cumulative});
    }
    if (boundaries_.size() > boundaries_max_) boundaries_.pop_front();
  }
}

VerifiedStream::Verdict VerifiedStream::check(const DigestKey& key) {
  if (check_boundaries(key) == Verdict::differs) return Verdict::differs;
  return check_ends();
}

VerifiedStream::Verdict VerifiedStream::check_boundaries(const DigestKey& key) {
  // Digests are cumulative: the farthest boundary that the PVM has reached speaks for all before it.
  std::optional<Boundary> farthest;
  while (!boundaries_.empty() && seq_le(boundaries_.front().seq, stream_.next())) {
    farthest = boundaries_.front();
    boundaries_.pop_front();
  }
  if (!farthest) return Verdict::agrees;
  if (cumulative_at(key, farthest->seq) != farthest->cumulative) return Verdict::differs;
  verify(farthest->seq);
  return Verdict::agrees;
}

VerifiedStream::Verdict VerifiedStream::check_ends() {
  if (fin_verified_) return Verdict::agrees;
  if (svm_fin_) {
    if (seq_lt(*svm_fin_, stream_.next())) return Verdict::differs;
    if (stream_.finished() && stream_.next() == *svm_fin_ && verified_ == *svm_fin_) fin_verified_ = true;
  }
  if (stream_.finished() && seq_lt(stream_.next(), svm_end_)) return Verdict::differs;
  return Verdict::agrees;
}

Digest VerifiedStream::cumulative_at(const DigestKey& key, std::uint32_t seq) const {
  if (seq == stream_.next()) return stream_.cumulative();
  const auto run = std::lower_bound(runs_.begin(), runs_.end(), seq, [](const Run& candidate, std::uint32_t wanted) {
    return seq_lt(candidate.segment.end(), wanted);
  });
  const std::size_t bytes = seq - run->segment.seq;
  if (bytes == run->segment.payload.size()) return key.append(run->cumulative, run->segment.digest, bytes);
  return key.append(run->cumulative, key.of(run->segment.payload.first(bytes)), bytes);
}

void VerifiedStream::advance(std::uint32_t seq, Digest cumulative) {
  stream_.advance(seq, cumulative);
  verified_ = seq;
  while (!boundaries_.empty() && seq_le(boundaries_.front().seq, seq)) boundaries_.pop_front();
  if (seq_lt(svm_end_, seq)) svm_end_ = seq;
}

void VerifiedStream::verify(std::uint32_t seq) {
  verified_ = seq;
  while (!runs_.empty() && seq_le(runs_.front().segment.end(), seq)) runs_.pop_front();
}

}  // namespace twinstep::compare
