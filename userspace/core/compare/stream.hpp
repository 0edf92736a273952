// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "core/compare/digest.hpp"
#include "core/compare/frame.hpp"

namespace twinstep::compare {

/// Bytes of a TCP stream, at most one frame's.
struct Segment {
  std::uint32_t seq = 0;
  std::span<const std::byte> payload;  ///< its size counts; its bytes may be gone once it waits
  Digest digest = 0;                   ///< of payload

  std::uint32_t end() const { return seq + static_cast<std::uint32_t>(payload.size()); }
};

/// One direction of a TCP connection: where its contiguous stream ends and the cumulative digest up to there. Segments
/// that overlap or come out of order are cut when they arrive, while their bytes are at hand, to what is not known yet;
/// so the segments that wait are disjoint and are joined later by their digests alone.
class Stream {
 public:
  /// The stream starts at `base`. segments_max: those that wait for a gap to close; more are dropped, as if lost.
  Stream(std::uint32_t base, std::size_t segments_max) : base_(base), next_(base), segments_max_(segments_max) {}

  /// The stream starts behind all its bytes: the FIN has number `base`.
  static Stream finished_at(std::uint32_t base, std::size_t segments_max) {
    Stream stream(base, segments_max);
    stream.fin_ = base;
    return stream;
  }

  /// Takes a segment; `on_append(segment, cumulative)` is called for each run of bytes that the stream grows by, with
  /// the cumulative digest in front of it.
  template <typename OnAppend>
  void add(const DigestKey& key, const Segment& segment, OnAppend&& on_append) {
    if (segment.payload.empty()) return;
    if (segment.seq == next_ && waiting_.empty()) {
      append(key, segment, on_append);
      return;
    }
    insert(key, segment);
    std::size_t joined = 0;
    for (; joined < waiting_.size() && waiting_[joined].seq == next_; ++joined)
      append(key, waiting_[joined], on_append);
    waiting_.erase(waiting_.begin(), waiting_.begin() + static_cast<std::ptrdiff_t>(joined));
  }
  /// The FIN's own number.
  void add_fin(std::uint32_t seq) { fin_ = seq; }

  std::uint32_t base() const { return base_; }
  /// First byte that is missing.
  std::uint32_t next() const { return next_; }
  /// Of [base, next).
  Digest cumulative() const { return cumulative_; }
  /// No FIN was seen, and nothing waits for a gap to close.
  bool is_plain() const { return !fin_ && waiting_.empty(); }
  /// Goes on at `next`, with this cumulative digest. Only if is_plain().
  void advance(std::uint32_t next, Digest cumulative) {
    next_ = next;
    cumulative_ = cumulative;
  }
  /// All bytes up to the FIN are here, and it is.
  bool finished() const { return fin_ == next_; }

 private:
  template <typename OnAppend>
  void append(const DigestKey& key, const Segment& segment, OnAppend&& on_append) {
    on_append(segment, cumulative_);
    cumulative_ = key.append(cumulative_, segment.digest, segment.payload.size());
    next_ = segment.end();
  }
  /// Adds to the waiting ones what of the segment is not known yet.
  void insert(const DigestKey& key, const Segment& segment);

  std::uint32_t base_;
  std::uint32_t next_;
  Digest cumulative_ = 0;
  std::optional<std::uint32_t> fin_;
  std::size_t segments_max_;
  std::vector<Segment> waiting_;  // in order, disjoint, all beyond next_
};

}  // namespace twinstep::compare
