// SPDX-License-Identifier: Apache-2.0
#include "load.hpp"

#include <algorithm>
#include <atomic>
#include <map>
#include <mutex>
#include <thread>
#include <vector>

#include "measure.hpp"
#include "system.hpp"

namespace twinstep::lab {
namespace {

/// Answers come in bursts where output leaves by checkpoints; a silence shorter than this is no gap worth a line.
constexpr std::uint64_t kGapListedNsMin = 100 * kNsPerMs;

/// What all clients of a load have seen.
class LoadBook {
 public:
  void start(std::uint64_t now_ns) { gaps_.start(now_ns); }

  void done(std::uint64_t begin_ns, std::uint64_t bytes) {
    const std::lock_guard lock(mutex_);
    const std::uint64_t now_ns = monotonic_ns();
    latency_.add(now_ns - begin_ns);
    bytes_ += bytes;
    gaps_.arrival(now_ns);
  }
  void failed(const OperationError& error) {
    const std::lock_guard lock(mutex_);
    ++failures_[error.what];
    bytes_wrong_ += error.bytes_wrong;
  }

  nlohmann::json report(const LoadOptions& options, std::uint64_t start_ns, std::uint64_t end_ns) {
    gaps_.arrival(std::max(end_ns, start_ns));  // a load that ended in silence stood still until its end
    nlohmann::json result = {{"command", "load"},
                             {"clients", options.clients},
                             {"start_ns", start_ns},
                             {"end_ns", end_ns},
                             {"operations", latency_.count()},
                             {"bytes", bytes_},
                             {"bytes_wrong", bytes_wrong_},
                             {"failures", failures_}};
    result.update(latency_.report());
    result.update(gaps_.report());
    return result;
  }

 private:
  std::mutex mutex_;
  LatencyMeter latency_;
  GapMeter gaps_{kGapListedNsMin};
  std::uint64_t bytes_ = 0;
  std::uint64_t bytes_wrong_ = 0;
  std::map<std::string, std::uint64_t> failures_;
};

void wait_until(std::uint64_t until_ns) {
  const std::uint64_t now_ns = monotonic_ns();
  if (until_ns > now_ns) std::this_thread::sleep_for(std::chrono::nanoseconds(until_ns - now_ns));
}

void drive(LoadClient& client, LoadBook& book, std::uint64_t interval_ns, std::uint64_t until_ns) {
  for (std::uint64_t begin_ns = monotonic_ns(); begin_ns < until_ns && stop_requests() == 0;
       begin_ns = monotonic_ns()) {
    const auto bytes = client.operate();
    if (bytes) {
      book.done(begin_ns, *bytes);
    } else {
      book.failed(bytes.error());
      std::this_thread::sleep_for(std::chrono::milliseconds(10));  // a refusal comes at once, and again
    }
    wait_until(begin_ns + interval_ns);
  }
}

}  // namespace

Result<nlohmann::json> run_load(const LoadOptions& options) {
  std::vector<std::unique_ptr<LoadClient>> clients;
  for (std::uint64_t number = 1; number <= options.clients; ++number) {
    auto client = make_load_client(options, number);
    if (!client) return tl::unexpected(client.error());
    clients.push_back(std::move(*client));
  }
  LoadBook book;
  const std::uint64_t start_ns = monotonic_ns();
  const std::uint64_t until_ns = start_ns + options.seconds * kNsPerSecond;
  const std::uint64_t interval_ns = options.interval_ms * kNsPerMs;
  book.start(start_ns);
  std::vector<std::thread> threads;
  threads.reserve(clients.size());
  for (const auto& client : clients)
    threads.emplace_back([&client, &book, interval_ns, until_ns] { drive(*client, book, interval_ns, until_ns); });
  for (auto& thread : threads) thread.join();
  return book.report(options, start_ns, monotonic_ns());
}

}  // namespace twinstep::lab
