// SPDX-License-Identifier: Apache-2.0
// What the subcommands measure: how long nothing came, and how long answers took.
#pragma once

#include <cstddef>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <vector>

namespace twinstep::lab {

/// Records the times in which nothing arrived.
class GapMeter {
 public:
  static constexpr std::size_t kListedMax = 4096;

  /// Silences shorter than `listed_ns_min` are the normal rhythm of the traffic and not listed.
  explicit GapMeter(std::uint64_t listed_ns_min) : listed_ns_min_(listed_ns_min) {}

  /// Starts the clock. Times are CLOCK_MONOTONIC nanoseconds and never go back.
  void start(std::uint64_t now_ns) { last_ns_ = now_ns; }
  /// Something arrived.
  void arrival(std::uint64_t now_ns);

  /// {"gap_ms_max", "gaps": [{"start_ns", "end_ns"}, ...], "gaps_unlisted"}.
  nlohmann::json report() const;

 private:
  struct Gap {
    std::uint64_t start_ns;
    std::uint64_t end_ns;
  };
  std::uint64_t listed_ns_min_;
  std::uint64_t last_ns_ = 0;
  std::uint64_t longest_ns_ = 0;
  std::uint64_t unlisted_ = 0;
  std::vector<Gap> gaps_;
};

/// Collects durations and reports percentiles by nearest rank.
class LatencyMeter {
 public:
  void add(std::uint64_t duration_ns) { durations_ns_.push_back(duration_ns); }
  std::size_t count() const { return durations_ns_.size(); }

  /// {"latency_ms_p50", "latency_ms_p99", "latency_ms_max"}; 0 when nothing was added.
  nlohmann::json report() const;

 private:
  std::vector<std::uint64_t> durations_ns_;
};

}  // namespace twinstep::lab
