// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/socket.h>

#include <functional>
#include <stop_token>
#include <utility>
#include <vector>

#include "daemon/vm/worker.hpp"
#include "io/unique_fd.hpp"

namespace twinstep::daemon {

/// One end of the connections that carry a VM's memory images, and the job that blocks on them. Ending it ends the job.
class PageStream {
 public:
  explicit PageStream(std::vector<io::UniqueFd> sockets) : sockets_(std::move(sockets)) {}
  ~PageStream() { end(); }
  PageStream(const PageStream&) = delete;
  PageStream& operator=(const PageStream&) = delete;

  std::vector<int> sockets() const {
    std::vector<int> numbers;
    for (const io::UniqueFd& socket : sockets_) numbers.push_back(socket.get());
    return numbers;
  }
  /// Runs `job` beside the caller, after the job before.
  void run(std::function<void()> job) {
    stop();
    worker_.start(std::move(job));
  }
  /// Runs a job that may go on until stop(), end() or the next job: it must return soon after `stopped` is asked for.
  void run_until_stopped(std::function<void(const std::stop_token& stopped)> job) {
    stop();
    stop_ = std::stop_source();
    worker_.start([job = std::move(job), stopped = stop_.get_token()] { job(stopped); });
  }
  /// Ends such a job, and waits until it, or any other, is over.
  void stop() {
    stop_.request_stop();
    worker_.join();
  }
  /// Cuts the connections and waits for the job, which sees its reads and writes fail.
  void end() {
    stop_.request_stop();
    for (const io::UniqueFd& socket : sockets_) ::shutdown(socket.get(), SHUT_RDWR);
    worker_.join();
  }

 private:
  std::vector<io::UniqueFd> sockets_;
  std::stop_source stop_;
  Worker worker_;
};

}  // namespace twinstep::daemon
