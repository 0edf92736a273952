// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <utility>

#include "core/result.hpp"

namespace twinstep::io {

/// While it lives, a device that is polled busily raises no interrupts (networking/napi.rst, "IRQ mitigation"): the
/// poller takes frames, and a timer does where it comes late. Afterwards the device is as it was.
class InterruptDeferral {
 public:
  static Result<InterruptDeferral> begin(const std::string& device);
  ~InterruptDeferral();
  InterruptDeferral(InterruptDeferral&& other) noexcept;
  InterruptDeferral& operator=(InterruptDeferral&& other) noexcept;

 private:
  InterruptDeferral(std::string device, std::string polls, std::string timer)
      : device_(std::move(device)), polls_before_(std::move(polls)), timer_before_(std::move(timer)) {}
  std::string device_;  // empty: moved away
  std::string polls_before_, timer_before_;
};

}  // namespace twinstep::io
