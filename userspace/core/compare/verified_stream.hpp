// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>

#include "core/compare/digest.hpp"
#include "core/compare/fifo.hpp"
#include "core/compare/stream.hpp"

namespace twinstep::compare {

/// The PVM's stream with the offset up to which the SVM's has equal bytes. The SVM states its stream as boundaries
/// (offset, cumulative digest); each is checked once the PVM's stream reaches it, by the prefix of the PVM's segment
/// that it cuts. Numbers are the PVM's.
class VerifiedStream {
 public:
  enum class Verdict : std::uint8_t { agrees, differs };

  VerifiedStream(std::uint32_t base, std::size_t boundaries_max);
  /// A stream whose FIN, with the number `base`, is verified already.
  static VerifiedStream finished_at(std::uint32_t base, std::size_t boundaries_max);

  /// Bytes of the PVM. The payload must stay valid until the bytes are verified.
  Verdict add(const DigestKey& key, const Segment& segment);
  /// The PVM's FIN has this number.
  Verdict add_fin(const DigestKey& key, std::uint32_t seq);
  /// The SVM's stream up to `seq` has this cumulative digest, and ends there if `fin`.
  Verdict add_boundary(const DigestKey& key, std::uint32_t seq, Digest cumulative, bool fin);
  /// The same for a boundary that the PVM's stream has not reached, or is verified beyond.
  void note_boundary(std::uint32_t seq, Digest cumulative);

  /// All of the PVM's stream is verified, and neither side has said that it ends.
  bool is_settled() const { return stream_.is_plain() && runs_.empty() && !svm_fin_ && verified_ == stream_.next(); }
  /// What was verified elsewhere: the PVM's stream up to `seq`, with its cumulative digest. Only if is_settled().
  void advance(std::uint32_t seq, Digest cumulative);
  /// Boundaries of the SVM beyond verified(), oldest first, each given to `take(seq, cumulative)`.
  template <typename Take>
  void each_boundary(Take&& take) const {
    for (const Boundary& boundary : boundaries_) take(boundary.seq, boundary.cumulative);
  }
  /// Of the PVM's stream.
  Digest cumulative() const { return stream_.cumulative(); }

  std::uint32_t base() const { return stream_.base(); }
  /// All before it is verified, the FIN included.
  std::uint32_t verified() const { return verified_ + (fin_verified_ ? 1U : 0U); }
  bool fin_verified() const { return fin_verified_; }
  /// End of what the SVM has stated.
  std::uint32_t svm_end() const { return svm_end_; }
  bool svm_finished() const { return svm_fin_.has_value(); }

 private:
  struct Boundary {
    std::uint32_t seq = 0;
    Digest cumulative = 0;
  };
  /// A run of the PVM's bytes that is not verified to its end.
  struct Run {
    Segment segment;
    Digest cumulative = 0;  ///< in front of it
  };

  Verdict check(const DigestKey& key);
  Verdict check_boundaries(const DigestKey& key);
  Verdict check_ends();
  Digest cumulative_at(const DigestKey& key, std::uint32_t seq) const;
  void verify(std::uint32_t seq);

  Stream stream_;
  std::size_t boundaries_max_;
  std::uint32_t verified_;
  std::uint32_t svm_end_;
  bool fin_verified_ = false;
  std::optional<std::uint32_t> svm_fin_;
  Fifo<Run> runs_;             // contiguous, from the run that holds verified_ to the stream's end
  Fifo<Boundary> boundaries_;  // ascending, beyond verified_
};

}  // namespace twinstep::compare
