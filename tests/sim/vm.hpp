// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>

#include "context.hpp"
#include "guest.hpp"

namespace twinstep::sim {

/// A guest with its tap and its share of a processor: takes frames and works at moments of its own.
class Vm : public std::enable_shared_from_this<Vm> {
 public:
  using Output = std::function<void(const Packet&)>;
  Vm(Context& context, Output output) : context_(context), output_(std::move(output)) {}

  /// A frame for the guest; it reads it when it runs. Beyond the tap's length it is lost.
  void deliver(Packet packet);
  /// Continues after `warm_up`.
  void start(Nanos warm_up);
  void stop();
  bool running() const { return running_; }

  Guest guest;
  std::deque<Packet> tap;

 private:
  static constexpr std::size_t kTapMax = 256;
  void wake(Nanos at);
  void turn();

  Context& context_;
  Output output_;
  bool running_ = false;
  Nanos ready_at_ = 0;
  Nanos wake_at_ = 0;           // 0: nothing is scheduled
  std::uint64_t schedule_ = 0;  // a wake-up of an older schedule is void
};

}  // namespace twinstep::sim
