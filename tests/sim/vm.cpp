// SPDX-License-Identifier: Apache-2.0
#include "vm.hpp"

#include <algorithm>
#include <utility>
#include <vector>

namespace twinstep::sim {

void Vm::deliver(Packet packet) {
  if (tap.size() >= kTapMax) return;
  tap.push_back(std::move(packet));
  wake(context_.now() + context_.random.between(10 * kMicrosecond, context_.profile.work_delay_max));
}

void Vm::start(Nanos warm_up) {
  running_ = true;
  ready_at_ = context_.now() + warm_up;
  wake(ready_at_);
}

void Vm::stop() {
  running_ = false;
  wake_at_ = 0;
  ++schedule_;
}

void Vm::wake(Nanos at) {
  at = std::max(at, ready_at_);
  if (!running_ || (wake_at_ != 0 && wake_at_ <= at)) return;
  wake_at_ = at;
  context_.scheduler.at(at, [weak = weak_from_this(), schedule = ++schedule_] {
    const auto self = weak.lock();
    if (self && self->schedule_ == schedule) self->turn();
  });
}

void Vm::turn() {
  wake_at_ = 0;
  GuestEnvironment environment{context_.now(), context_.random, context_.profile.clock_reply};
  std::vector<Packet> out;
  for (std::uint64_t frames = 1 + context_.random.below(4); frames > 0 && !tap.empty(); --frames) {
    guest.receive(tap.front(), environment, out);
    tap.pop_front();
  }
  const bool more = guest.work(environment, out);
  for (const Packet& packet : out) output_(packet);
  // Rarely a guest is not scheduled for long: that is what makes one side stall.
  const Nanos longest = context_.random.chance(0.003) ? 150 * kMillisecond : context_.profile.work_delay_max;
  if (more || !tap.empty()) wake(context_.now() + context_.random.between(10 * kMicrosecond, longest));
  if (const auto timer = guest.next_timer()) wake(std::max(*timer, context_.now() + 10 * kMicrosecond));
}

}  // namespace twinstep::sim
