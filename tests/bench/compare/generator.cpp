// SPDX-License-Identifier: Apache-2.0
#include "generator.hpp"

#include <stdexcept>
#include <string>

#include "cpu_time.hpp"

namespace twinstep::bench {
namespace {

constexpr std::uint32_t kPvmIsn = 0x10000000;
constexpr std::uint32_t kBurst = 32;
constexpr std::uint32_t kBurstsInBlock = 32;
constexpr std::uint32_t kLeadBursts = 4;
constexpr std::uint32_t kPacedInBlock = 32;
constexpr std::uint64_t kUnderWayMax = 256;
constexpr std::uint64_t kPatienceNs = 3'000'000'000;

}  // namespace

Generator::Generator(const Traffic& traffic, double svm_first, std::uint32_t svm_lag)
    : traffic_(traffic), svm_first_(svm_first), pvm_(traffic, kPvmIsn), svm_(traffic, kPvmIsn - svm_lag) {}

std::size_t Generator::open(Sink& sink) {
  if (traffic_.protocol != Protocol::tcp) return 0;
  for (std::size_t flow = 0; flow < traffic_.flows; ++flow) {
    sink.svm(svm_.syn(flow));
    sink.pvm(pvm_.syn(flow));
  }
  return traffic_.flows;
}

bool Generator::svm_leads() {
  owed_ += svm_first_;
  if (owed_ < 1) return false;
  owed_ -= 1;
  return true;
}

void Generator::await_room(Sink& sink, std::uint64_t under_way_max) const {
  const std::uint64_t until = monotonic_ns() + kPatienceNs;
  while (sent_ - (sink.released() - released_before_) > under_way_max)
    if (monotonic_ns() > until)
      throw std::runtime_error(std::to_string(sent_ - (sink.released() - released_before_)) +
                               " packets did not come out");
}

/// One VM is kLeadBursts ahead of the other throughout the block. It gets there with nothing under way.
void Generator::send_block(Sink& sink, Pushed& pushed) {
  await_room(sink, 0);
  const bool svm_first = svm_leads();
  const std::uint32_t first = next_;
  const auto burst = [&](bool of_pvm, std::uint32_t index) {
    const std::uint64_t before = own_cpu_ns();
    for (std::uint32_t number = first + index * kBurst; number < first + (index + 1) * kBurst; ++number) {
      if (of_pvm)
        sink.pvm(pvm_.packet(number, !svm_first));
      else
        sink.svm(svm_.packet(number, !svm_first));
    }
    pushed.generator_ns += own_cpu_ns() - before;
    if (of_pvm) sent_ += kBurst;
    await_room(sink, kUnderWayMax);
  };
  for (std::uint32_t step = 0; step < kBurstsInBlock + kLeadBursts; ++step) {
    if (step < kBurstsInBlock) burst(!svm_first, step);
    if (step >= kLeadBursts) burst(svm_first, step - kLeadBursts);
  }
  next_ += kBurst * kBurstsInBlock;
  pushed.packets += kBurst * kBurstsInBlock;
}

Pushed Generator::saturate(Sink& sink, std::uint64_t duration_ns) {
  Pushed pushed;
  released_before_ = sink.released() - sent_;
  const std::uint64_t begin = monotonic_ns();
  while (monotonic_ns() - begin < duration_ns) send_block(sink, pushed);
  await_room(sink, 0);
  pushed.wall_ns = monotonic_ns() - begin;
  return pushed;
}

Pushed Generator::pace(Sink& sink, std::uint64_t duration_ns, std::uint64_t interval_ns) {
  Pushed pushed;
  released_before_ = sink.released() - sent_;
  const auto wait_until = [&](std::uint64_t at) {
    while (monotonic_ns() < at) sink.released();
  };
  bool svm_first = svm_leads();
  const std::uint64_t begin = monotonic_ns();
  for (std::uint64_t at = begin; at < begin + duration_ns; at += interval_ns) {
    if (pushed.packets % kPacedInBlock == 0 && pushed.packets != 0) svm_first = svm_leads();
    wait_until(at);
    if (svm_first)
      sink.svm(svm_.packet(next_, !svm_first));
    else
      sink.pvm(pvm_.packet(next_, !svm_first));
    wait_until(at + interval_ns / 2);
    sink.stamp(next_, monotonic_ns());
    if (svm_first)
      sink.pvm(pvm_.packet(next_, !svm_first));
    else
      sink.svm(svm_.packet(next_, !svm_first));
    ++next_;
    ++sent_;
    ++pushed.packets;
  }
  await_room(sink, 0);
  pushed.wall_ns = monotonic_ns() - begin;
  return pushed;
}

}  // namespace twinstep::bench
