// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/socket.h>

#include <functional>
#include <utility>

#include "daemon/vm/worker.hpp"
#include "io/unique_fd.hpp"

namespace twinstep::daemon {

/// One end of the connection that carries a VM's memory images, and the job that blocks on it. Ending it ends the job.
class PageStream {
 public:
  explicit PageStream(io::UniqueFd socket) : socket_(std::move(socket)) {}
  ~PageStream() { end(); }
  PageStream(const PageStream&) = delete;
  PageStream& operator=(const PageStream&) = delete;

  int socket() const { return socket_.get(); }
  /// Runs `job` beside the caller, after the job before.
  void run(std::function<void()> job) { worker_.start(std::move(job)); }
  /// Until the job is over.
  void wait() { worker_.join(); }
  /// Cuts the connection and waits for the job, which sees its reads and writes fail.
  void end() {
    ::shutdown(socket_.get(), SHUT_RDWR);
    worker_.join();
  }

 private:
  io::UniqueFd socket_;
  Worker worker_;
};

}  // namespace twinstep::daemon
