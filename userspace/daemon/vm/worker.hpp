// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <thread>

namespace twinstep::daemon {

/// Runs one long job at a time beside its owner: the page stream's sending or receiving side. The job must end soon
/// after the owner has shut down what it blocks on.
class Worker {
 public:
  Worker() = default;
  ~Worker() { join(); }
  Worker(const Worker&) = delete;
  Worker& operator=(const Worker&) = delete;

  /// Waits for the job before, if there is one, then starts `job`.
  void start(std::function<void()> job) {
    join();
    thread_ = std::thread(std::move(job));
  }
  void join() {
    if (thread_.joinable()) thread_.join();
  }

 private:
  std::thread thread_;
};

}  // namespace twinstep::daemon
