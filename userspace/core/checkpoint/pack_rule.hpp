// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "core/time.hpp"

namespace twinstep::checkpoint {

/// Whether pages are compressed before they are sent over a stream: while the link is measured to be so much slower
/// than this host compresses what is sent that the pages arrive clearly earlier. On a fast link nothing is even tried.
/// Pure.
///
/// Compressing goes on beside the link's work on what was sent before, so pages arrive at the smaller of the rate at
/// which they are compressed and the link's rate by the part that is left of them.
class PackRule {
 public:
  /// A link that takes more, 2 Gbit/s, is fast: there the processor has better things to do.
  static constexpr double kLinkRateMax = 250e6;
  /// How many times as fast pages must arrive for a start, and for going on.
  static constexpr double kGainToStart = 1.3;
  static constexpr double kGainToGoOn = 1.1;
  /// Measurements of the link in a row that must say the same before anything changes.
  static constexpr int kAgreeing = 3;

  /// link_rate_max: 0 compresses nothing.
  explicit PackRule(double link_rate_max = kLinkRateMax) : link_rate_max_(link_rate_max) {}

  /// The link takes so many bytes a second; 0: not known, which changes nothing.
  void on_link(std::uint64_t bytes_per_s);
  /// Some pages of so many bytes became so many in so much time.
  void on_packed(std::uint64_t bytes, std::uint64_t packed_bytes, Nanos took_ns);

  /// Whether pages are to be compressed for a try if packs() is false.
  bool wants_sample() const { return link_bytes_per_s_ > 0 && link_bytes_per_s_ < link_rate_max_; }
  bool packs() const { return packs_; }
  /// How many times as fast pages arrive compressed; 0: not known.
  double gain() const;

 private:
  double link_rate_max_;
  double link_bytes_per_s_ = 0;
  double pack_bytes_per_s_ = 0;  // of what goes in
  double part_left_ = 1;         // of each byte
  int agreeing_ = 0;
  bool packs_ = false;
};

}  // namespace twinstep::checkpoint
