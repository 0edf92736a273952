// SPDX-License-Identifier: Apache-2.0
#include <poll.h>

#include "commands.hpp"
#include "fetch.hpp"

namespace twinstep::lab {
namespace {

constexpr int kPollMsMax = 100;
/// The guest sends every 10 ms.
constexpr std::uint64_t kGapListedNsMin = 15 * kNsPerMs;

nlohmann::json report(const Fetch& fetch, const GapMeter& gaps, std::uint64_t bytes_expected) {
  nlohmann::json result = {{"command", "stream"},
                           {"start_ns", fetch.start_ns()},
                           {"end_ns", fetch.end_ns()},
                           {"bytes", fetch.bytes()},
                           {"bytes_expected", bytes_expected},
                           {"bytes_wrong", fetch.bytes_wrong()},
                           {"failure", to_string(fetch.failure())},
                           {"connections_reset", fetch.failure() == Failure::kReset ? 1 : 0}};
  result.update(gaps.report());
  return result;
}

}  // namespace

nlohmann::json run_stream(const StreamOptions& options) {
  const std::uint64_t bytes = options.bytes_per_second * options.seconds;
  const std::string path = "/stream/" + std::to_string(options.bytes_per_second) + "/" + std::to_string(bytes);
  GapMeter gaps(kGapListedNsMin);
  gaps.start(monotonic_ns());
  Fetch fetch({options.address, path, options.seed, bytes}, monotonic_ns(), &gaps);
  while (!fetch.done()) {
    pollfd entry{fetch.fd(), fetch.poll_events(), 0};
    const int ready = poll(&entry, 1, kPollMsMax);
    fetch.advance(monotonic_ns(), ready > 0);
    if (stop_requests() > 0) fetch.interrupt(monotonic_ns());
  }
  // A stream that ended short stood still from its last byte on.
  if (fetch.bytes() < bytes) gaps.arrival(fetch.end_ns());
  return report(fetch, gaps, bytes);
}

}  // namespace twinstep::lab
