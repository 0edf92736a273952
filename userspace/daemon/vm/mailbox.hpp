// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <poll.h>
#include <sys/eventfd.h>

#include <cstdint>
#include <deque>
#include <mutex>
#include <optional>
#include <stdexcept>
#include <utility>

#include "io/monotonic.hpp"
#include "io/unique_fd.hpp"

namespace twinstep::daemon {

/// Where other threads leave what a VM's session thread is to handle, in order of arrival. Producers are few and paced
/// (one item per message, step or heartbeat), so it needs no limit of its own: the control link and the plane bound
/// theirs.
template <typename T>
class Mailbox {
 public:
  Mailbox() : signal_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
    if (!signal_) throw std::runtime_error("no eventfd: too many open files");
  }

  void post(T item) {
    {
      const std::lock_guard lock(mutex_);
      items_.push_back(std::move(item));
    }
    ::eventfd_write(signal_.get(), 1);
  }

  /// The oldest item. Nothing when `until` (io::monotonic_ns() scale) passes first, or when `watched_fd` (-1: none)
  /// becomes readable.
  std::optional<T> take(Nanos until, int watched_fd) {
    if (auto item = pop()) return item;
    pollfd fds[2] = {{signal_.get(), POLLIN, 0}, {watched_fd, POLLIN, 0}};
    if (::poll(fds, 2, io::milliseconds_until(until)) > 0 && (fds[0].revents & POLLIN) != 0) {
      eventfd_t ignored = 0;
      ::eventfd_read(signal_.get(), &ignored);
    }
    return pop();
  }

 private:
  std::optional<T> pop() {
    const std::lock_guard lock(mutex_);
    if (items_.empty()) return std::nullopt;
    T item = std::move(items_.front());
    items_.pop_front();
    return item;
  }

  io::UniqueFd signal_;
  std::mutex mutex_;
  std::deque<T> items_;
};

}  // namespace twinstep::daemon
