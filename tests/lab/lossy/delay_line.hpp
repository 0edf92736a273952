// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <queue>
#include <random>
#include <string>
#include <vector>

#include "core/result.hpp"
#include "io/unique_fd.hpp"

namespace twinstep::lab {

/// Sends frames some milliseconds later than they came: what the lossy program puts into one of its tap devices leaves
/// by that device's port.
class DelayLine {
 public:
  /// Delays are drawn between these two.
  static constexpr std::uint64_t kDelayNsMin = 1'000'000;
  static constexpr std::uint64_t kDelayNsMax = 20'000'000;
  static constexpr std::size_t kFramesMax = 4096;  ///< under way; more are dropped

  explicit DelayLine(std::uint64_t seed) : random_(seed) {}

  /// Makes the tap device of one port. Returns its ifindex.
  Result<unsigned> add_port(const std::string& port);
  /// Carries frames until `stopped` says so.
  void run(const std::function<bool()>& stopped);
  std::uint64_t frames_lost() const { return frames_lost_; }

 private:
  struct Port {
    io::UniqueFd tap;
    io::UniqueFd out;
  };
  struct Delayed {
    std::uint64_t due_ns = 0;
    std::size_t port = 0;
    std::vector<unsigned char> frame;
    bool operator>(const Delayed& other) const { return due_ns > other.due_ns; }
  };
  void take(std::size_t port);
  void send_due(std::uint64_t now_ns);

  std::mt19937_64 random_;
  std::vector<Port> ports_;
  std::priority_queue<Delayed, std::vector<Delayed>, std::greater<>> delayed_;
  std::uint64_t frames_lost_ = 0;
};

}  // namespace twinstep::lab
