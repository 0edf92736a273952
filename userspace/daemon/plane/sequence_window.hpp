// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>

namespace twinstep::daemon {

/// Which frames of a numbered sequence have come (RFC 4303, 3.4.3, has the same). The link may double frames and bring
/// them out of order.
class SequenceWindow {
 public:
  /// Whether this frame is to be taken: it came for the first time, and not more than 64 behind the newest.
  bool take(std::uint32_t sequence) {
    if (!newest_) {
      newest_ = sequence;
      seen_ = 1;
      return true;
    }
    const auto ahead = static_cast<std::int32_t>(sequence - *newest_);
    if (ahead > 0) {
      advance(static_cast<std::uint32_t>(ahead));
      newest_ = sequence;
      seen_ |= 1;
      return true;
    }
    const auto behind = static_cast<std::uint32_t>(-ahead);
    if (behind >= kFrames || (seen_ >> behind & 1) != 0) return false;
    seen_ |= std::uint64_t{1} << behind;
    --missing_;
    return true;
  }
  /// How many have not come so far.
  std::uint64_t missing() const { return missing_; }

 private:
  static constexpr std::uint32_t kFrames = 64;

  void advance(std::uint32_t frames) {
    missing_ += frames - 1;
    seen_ = frames < kFrames ? seen_ << frames : 0;
  }

  std::optional<std::uint32_t> newest_;
  std::uint64_t seen_ = 0;  // bit n: n before the newest
  std::uint64_t missing_ = 0;
};

}  // namespace twinstep::daemon
