// SPDX-License-Identifier: Apache-2.0
#include "io/netlink/interrupt_deferral.hpp"

#include <cerrno>
#include <fstream>

#include "io/os_error.hpp"

namespace twinstep::io {
namespace {

/// Polls that may find nothing before interrupts are on again.
constexpr const char* kPolls = "2";
/// The longest that a frame waits for a poller who comes late, in ns.
constexpr const char* kTimerNs = "200000";

std::string path_of(const std::string& device, const char* setting) {
  return "/sys/class/net/" + device + "/" + setting;
}

Result<std::string> exchange(const std::string& device, const char* setting, const std::string& value) {
  const std::string path = path_of(device, setting);
  std::string before;
  if (!(std::ifstream(path) >> before)) return fail_os("cannot read " + path);
  std::ofstream file(path);
  file << value << std::flush;
  if (!file) return fail_os("cannot write " + path);
  return before;
}

}  // namespace

Result<InterruptDeferral> InterruptDeferral::begin(const std::string& device) {
  auto polls = exchange(device, "napi_defer_hard_irqs", kPolls);
  if (!polls) return tl::unexpected(polls.error());
  auto timer = exchange(device, "gro_flush_timeout", kTimerNs);
  if (timer) return InterruptDeferral(device, *polls, *timer);
  [[maybe_unused]] const auto undone = exchange(device, "napi_defer_hard_irqs", *polls);
  return tl::unexpected(timer.error());
}

InterruptDeferral::~InterruptDeferral() {
  if (device_.empty()) return;
  [[maybe_unused]] const auto timer = exchange(device_, "gro_flush_timeout", timer_before_);
  [[maybe_unused]] const auto polls = exchange(device_, "napi_defer_hard_irqs", polls_before_);
}

InterruptDeferral::InterruptDeferral(InterruptDeferral&& other) noexcept
    : device_(std::exchange(other.device_, {})),
      polls_before_(std::move(other.polls_before_)),
      timer_before_(std::move(other.timer_before_)) {}

InterruptDeferral& InterruptDeferral::operator=(InterruptDeferral&& other) noexcept {
  std::swap(device_, other.device_);
  std::swap(polls_before_, other.polls_before_);
  std::swap(timer_before_, other.timer_before_);
  return *this;
}

}  // namespace twinstep::io
