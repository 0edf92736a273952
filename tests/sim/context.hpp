// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <string_view>

#include "core/checkpoint/mode.hpp"
#include "planted.hpp"
#include "random.hpp"
#include "scheduler.hpp"

namespace twinstep::sim {

/// Host a is 0, host b is 1.
using HostIndex = std::size_t;
inline constexpr HostIndex kHostA = 0;
inline constexpr HostIndex kHostB = 1;
inline constexpr HostIndex peer_of(HostIndex host) {
  return 1 - host;
}
inline const std::string& host_name(HostIndex host) {
  static const std::string names[] = {"a", "b"};
  return names[host];
}

/// An invariant of the design that a run broke.
struct Violation {
  std::string invariant;  ///< "I1" .. "I4"
  std::string text;
  Nanos at_ns = 0;
};

/// How rough this run's world is. Probabilities per frame, request or reply.
struct Profile {
  double uplink_loss = 0;
  double uplink_duplicate = 0;
  double link_loss = 0;
  double clock_reply = 0;   ///< a reply holds a value that only one guest can know
  double arbiter_loss = 0;  ///< a question or an answer is lost
  Nanos uplink_delay_max = kMillisecond;
  Nanos link_delay_max = kMillisecond / 5;
  Nanos work_delay_max = kMillisecond;             ///< a guest's scheduling
  checkpoint::Mode mode = checkpoint::Mode::colo;  ///< of both hosts' configuration
};
checkpoint::Mode draw_mode(Random& random);
Profile draw_profile(Random& random);

/// What all actors of one run share.
class Context {
 public:
  Context(std::uint64_t seed, Planted planted_bug, bool trace_on)
      : random(seed), profile(draw_profile(random)), planted(planted_bug), trace_(trace_on) {}

  Scheduler scheduler;
  Random random;
  Profile profile;
  Planted planted;

  Nanos now() const { return scheduler.now(); }
  /// A branch of interest was reached.
  void mark(std::string_view name) { marks_.emplace(name); }
  const std::set<std::string, std::less<>>& marks() const { return marks_; }
  /// Keeps the first violation; the run ends there.
  void violate(std::string_view invariant, std::string text);
  const std::optional<Violation>& violation() const { return violation_; }

  bool tracing() const { return trace_; }
  /// A line of the run's history: printed when tracing, and always part of the fingerprint.
  void trace(HostIndex host, std::string_view text) { trace(host_name(host), text); }
  void trace(std::string_view who, std::string_view text);
  /// A line that is only printed: what would cost too much to make where nobody reads it.
  void print(std::string_view who, std::string_view text) const;
  /// Two runs of one seed have the same.
  std::uint64_t fingerprint() const { return fingerprint_; }

 private:
  std::set<std::string, std::less<>> marks_;
  std::optional<Violation> violation_;
  bool trace_;
  std::uint64_t fingerprint_ = 0;
};

}  // namespace twinstep::sim
