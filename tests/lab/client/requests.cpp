// SPDX-License-Identifier: Apache-2.0
#include <poll.h>

#include <algorithm>
#include <list>
#include <map>
#include <string>
#include <vector>

#include "commands.hpp"
#include "fetch.hpp"

namespace twinstep::lab {
namespace {

/// More than a fetch's timeout at 10 requests a second can leave open.
constexpr std::size_t kOpenMax = 512;
constexpr std::uint64_t kPollNsMax = 50 * kNsPerMs;

class RequestLoad {
 public:
  explicit RequestLoad(const RequestsOptions& options)
      : options_(options), answers_(2 * options.interval_ms * kNsPerMs) {}

  nlohmann::json run() {
    const std::uint64_t start_ns = monotonic_ns();
    const std::uint64_t last_start_ns = start_ns + options_.seconds * kNsPerSecond;
    std::uint64_t next_ns = start_ns;
    answers_.start(start_ns);
    for (;;) {
      const std::uint64_t now_ns = monotonic_ns();
      const bool starting = now_ns < last_start_ns && stop_requests() == 0;
      if (starting && now_ns >= next_ns) {
        start_one(now_ns);
        next_ns += options_.interval_ms * kNsPerMs;
      }
      if (!starting && open_.empty()) break;
      wait_and_advance(starting ? next_ns : now_ns + kPollNsMax);
      if (stop_requests() > 1) interrupt_all();
      collect();
    }
    return report(start_ns);
  }

 private:
  void start_one(std::uint64_t now_ns) {
    ++started_;
    if (open_.size() >= kOpenMax) {
      ++failures_["not_started"];
      return;
    }
    const std::string path = "/bytes/" + std::to_string(options_.bytes);
    open_.emplace_back(Fetch::Request{options_.address, path, started_, options_.bytes}, now_ns);
  }

  void wait_and_advance(std::uint64_t until_ns) {
    const std::uint64_t before_ns = monotonic_ns();
    const std::uint64_t wait_ns = until_ns > before_ns ? std::min(until_ns - before_ns, kPollNsMax) : 0;
    std::vector<pollfd> entries;
    entries.reserve(open_.size());
    for (const Fetch& fetch : open_) entries.push_back({fetch.fd(), fetch.poll_events(), 0});
    poll(entries.data(), entries.size(), static_cast<int>((wait_ns + kNsPerMs - 1) / kNsPerMs));
    const std::uint64_t now_ns = monotonic_ns();
    auto entry = entries.begin();
    for (Fetch& fetch : open_) fetch.advance(now_ns, (entry++)->revents != 0);
  }

  void interrupt_all() {
    for (Fetch& fetch : open_) fetch.interrupt(monotonic_ns());
  }

  void collect() {
    open_.remove_if([this](const Fetch& fetch) {
      if (!fetch.done()) return false;
      bytes_wrong_ += fetch.bytes_wrong();
      if (fetch.failure() == Failure::kNone) {
        latency_.add(fetch.end_ns() - fetch.start_ns());
        answers_.arrival(std::max(fetch.end_ns(), last_answer_ns_));
        last_answer_ns_ = std::max(fetch.end_ns(), last_answer_ns_);
      } else {
        ++failures_[to_string(fetch.failure())];
      }
      return true;
    });
  }

  nlohmann::json report(std::uint64_t start_ns) const {
    const auto resets = failures_.find(to_string(Failure::kReset));
    nlohmann::json result = {{"command", "requests"},
                             {"start_ns", start_ns},
                             {"end_ns", monotonic_ns()},
                             {"requests", started_},
                             {"requests_failed", started_ - latency_.count()},
                             {"failures", failures_},
                             {"connections_reset", resets == failures_.end() ? 0 : resets->second},
                             {"bytes_wrong", bytes_wrong_}};
    result.update(latency_.report());
    result.update(answers_.report());
    return result;
  }

  RequestsOptions options_;
  std::list<Fetch> open_;
  std::uint64_t started_ = 0;
  std::uint64_t bytes_wrong_ = 0;
  std::uint64_t last_answer_ns_ = 0;
  std::map<std::string, std::uint64_t> failures_;
  LatencyMeter latency_;
  GapMeter answers_;
};

}  // namespace

nlohmann::json run_requests(const RequestsOptions& options) {
  return RequestLoad(options).run();
}

}  // namespace twinstep::lab
