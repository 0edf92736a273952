// SPDX-License-Identifier: Apache-2.0
#include "measure.hpp"

#include <algorithm>

#include "system.hpp"

namespace twinstep::lab {
namespace {

std::uint64_t percentile(const std::vector<std::uint64_t>& sorted, std::size_t percent) {
  if (sorted.empty()) return 0;
  const std::size_t rank = (sorted.size() * percent + 99) / 100;
  return sorted[std::max<std::size_t>(rank, 1) - 1];
}

}  // namespace

void GapMeter::arrival(std::uint64_t now_ns) {
  const std::uint64_t silence_ns = now_ns - last_ns_;
  longest_ns_ = std::max(longest_ns_, silence_ns);
  if (silence_ns >= listed_ns_min_) {
    if (gaps_.size() < kListedMax) {
      gaps_.push_back({last_ns_, now_ns});
    } else {
      ++unlisted_;
    }
  }
  last_ns_ = now_ns;
}

nlohmann::json GapMeter::report() const {
  nlohmann::json gaps = nlohmann::json::array();
  for (const Gap& gap : gaps_) gaps.push_back({{"start_ns", gap.start_ns}, {"end_ns", gap.end_ns}});
  return {{"gap_ms_max", to_ms(longest_ns_)}, {"gaps", gaps}, {"gaps_unlisted", unlisted_}};
}

nlohmann::json LatencyMeter::report() const {
  std::vector<std::uint64_t> sorted = durations_ns_;
  std::sort(sorted.begin(), sorted.end());
  return {{"latency_ms_p50", to_ms(percentile(sorted, 50))},
          {"latency_ms_p99", to_ms(percentile(sorted, 99))},
          {"latency_ms_max", to_ms(percentile(sorted, 100))}};
}

}  // namespace twinstep::lab
