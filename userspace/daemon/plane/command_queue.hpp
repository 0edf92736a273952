// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/eventfd.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <future>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <type_traits>
#include <utility>
#include <vector>

#include "io/unique_fd.hpp"

namespace twinstep::daemon {

/// Work that other threads leave to one thread, and wait for. As each caller waits, there is never more of it than
/// callers.
class CommandQueue {
 public:
  static constexpr std::chrono::seconds kTimeout{2};

  CommandQueue() : wake_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
    if (!wake_) throw std::runtime_error("cannot create an eventfd");
  }

  /// Readable while there is work.
  int fd() const { return wake_.get(); }

  /// Runs `work` on the thread that calls run_all() and returns what it returns, or throws what it throws. Throws
  /// std::runtime_error if that takes longer than kTimeout; `work` may then still run, so it must own what it uses.
  template <typename Work>
  auto call(Work work) -> std::invoke_result_t<Work> {
    using Value = std::invoke_result_t<Work>;
    auto task = std::make_shared<std::packaged_task<Value()>>(std::move(work));
    auto done = task->get_future();
    post([task] { (*task)(); });
    if (done.wait_for(kTimeout) != std::future_status::ready)
      throw std::runtime_error("the packet plane's thread does not answer");
    return done.get();
  }

  /// The same without waiting.
  void post(std::function<void()> work) {
    const std::lock_guard lock(mutex_);
    waiting_.push_back(std::move(work));
    has_work_ = true;
    const std::uint64_t one = 1;
    if (::write(wake_.get(), &one, sizeof(one)) != sizeof(one))
      throw std::runtime_error("cannot wake the packet plane");
  }

  void run_all() {
    if (!has_work_) return;
    std::vector<std::function<void()>> due;
    {
      const std::lock_guard lock(mutex_);
      has_work_ = false;
      std::uint64_t wakes = 0;
      [[maybe_unused]] const auto got = ::read(wake_.get(), &wakes, sizeof(wakes));
      due.swap(waiting_);
    }
    for (const auto& work : due) work();
  }

 private:
  io::UniqueFd wake_;
  std::mutex mutex_;
  std::vector<std::function<void()>> waiting_;  // under mutex_
  std::atomic<bool> has_work_ = false;          // written under mutex_, so that to look costs no system call
};

}  // namespace twinstep::daemon
