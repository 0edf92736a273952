// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/eventfd.h>
#include <unistd.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <span>
#include <stdexcept>
#include <utility>
#include <vector>

#include "io/unique_fd.hpp"

namespace twinstep::daemon {

/// Frames for a VM from other VMs of its host, on their way between the planes' threads. Any thread puts, the plane's
/// takes.
class LocalInbox {
 public:
  static constexpr std::size_t kFramesMax = 1024;

  LocalInbox() : wake_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
    if (!wake_) throw std::runtime_error("cannot create an eventfd");
  }

  /// Readable while there are frames.
  int fd() const { return wake_.get(); }
  /// Whether this host is the VM's voice. Any thread.
  void set_open(bool open) { open_ = open; }
  bool is_open() const { return open_; }

  /// Keeps a copy. A full inbox loses the frame, and counts it.
  void put(std::span<const std::byte> frame) {
    const std::lock_guard lock(mutex_);
    if (frames_.size() >= kFramesMax) {
      ++dropped_;
      return;
    }
    frames_.emplace_back(frame.begin(), frame.end());
    has_frames_ = true;
    const std::uint64_t one = 1;
    [[maybe_unused]] const auto written = ::write(wake_.get(), &one, sizeof(one));  // full: it is readable anyway
  }

  std::vector<std::vector<std::byte>> take() {
    if (!has_frames_) return {};
    const std::lock_guard lock(mutex_);
    has_frames_ = false;
    std::uint64_t wakes = 0;
    [[maybe_unused]] const auto got = ::read(wake_.get(), &wakes, sizeof(wakes));
    return std::exchange(frames_, {});
  }
  std::uint64_t dropped() const { return dropped_; }

 private:
  io::UniqueFd wake_;
  std::atomic<bool> open_ = false;
  std::atomic<std::uint64_t> dropped_ = 0;
  std::mutex mutex_;
  std::vector<std::vector<std::byte>> frames_;  // under mutex_
  std::atomic<bool> has_frames_ = false;        // written under mutex_, so that to look costs no system call
};

}  // namespace twinstep::daemon
