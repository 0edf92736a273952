// SPDX-License-Identifier: Apache-2.0
#include "core/checkpoint/pack_rule.hpp"

#include <algorithm>

namespace twinstep::checkpoint {
namespace {

/// The newest measurement counts for a quarter: one odd one changes little.
double smoothed(double before, double measured) {
  return before == 0 ? measured : (3 * before + measured) / 4;
}

}  // namespace

double PackRule::gain() const {
  if (link_bytes_per_s_ == 0 || pack_bytes_per_s_ == 0) return 0;
  return std::min(pack_bytes_per_s_, link_bytes_per_s_ / part_left_) / link_bytes_per_s_;
}

void PackRule::on_link(std::uint64_t bytes_per_s) {
  if (bytes_per_s == 0) return;
  link_bytes_per_s_ = smoothed(link_bytes_per_s_, static_cast<double>(bytes_per_s));
  const bool pays = wants_sample() && gain() >= (packs_ ? kGainToGoOn : kGainToStart);
  agreeing_ = pays == packs_ ? 0 : agreeing_ + 1;
  if (agreeing_ < kAgreeing) return;
  packs_ = pays;
  agreeing_ = 0;
}

void PackRule::on_packed(std::uint64_t bytes, std::uint64_t packed_bytes, Nanos took_ns) {
  if (bytes == 0) return;
  const auto in = static_cast<double>(bytes);
  const bool first = pack_bytes_per_s_ == 0;
  pack_bytes_per_s_ = smoothed(pack_bytes_per_s_, in * kSecond / static_cast<double>(std::max<Nanos>(took_ns, 1)));
  const double part_left = std::max(static_cast<double>(packed_bytes), 1.0) / in;
  part_left_ = first ? part_left : smoothed(part_left_, part_left);
}

}  // namespace twinstep::checkpoint
