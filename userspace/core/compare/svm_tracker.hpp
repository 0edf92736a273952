// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "core/compare/comparer.hpp"
#include "core/compare/frame.hpp"

namespace twinstep::compare {

/// What a flow needs at failover (rule 10).
struct SvmFlow {
  FlowKey flow;
  std::optional<std::uint32_t> tsval;  ///< the SVM's latest TSval
  std::uint32_t seq_next = 0;          ///< end of the SVM's contiguous stream, its own numbering
};

/// The secondary's side of the comparison. Pure. Turns the SVM's output frames into records for the primary: per TCP
/// flow the contiguous stream's end and cumulative digest (out-of-order segments wait in a bounded reassembly list;
/// bytes that overlap what is covered are cut off by digesting the rest), for every other frame its digest.
class SvmTracker {
 public:
  struct Limits {
    std::size_t flows_max = 65536;
    std::size_t half_open_flows_max = 16384;  ///< see compare::Limits
    std::size_t segments_max = 1024;          ///< per flow, waiting for a gap to close; beyond it the newest is dropped
  };
  SvmTracker(DigestKey key, Limits limits);
  ~SvmTracker();
  SvmTracker(SvmTracker&&) noexcept;
  SvmTracker& operator=(SvmTracker&&) noexcept;

  /// The SVM was loaded with the state of a checkpoint: streams start at the PVM's bases.
  void begin_epoch(std::uint32_t epoch, std::span<const FlowBase> bases);
  /// A frame the SVM sent. Nothing is returned for the soft class and for a flood beyond the limits.
  std::optional<ts_record> on_frame(const Frame& frame);

  /// What is to be told behind a SYN's record when the SYN carries data (TCP Fast Open, RFC 7413); nothing for others.
  std::optional<ts_record> fast_open(const Frame& frame);

  std::uint32_t epoch() const;
  /// The flows with what failover needs of them; the last are those that matter most.
  std::vector<SvmFlow> flows() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace twinstep::compare
