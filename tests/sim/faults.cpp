// SPDX-License-Identifier: Apache-2.0
#include "faults.hpp"

#include <array>
#include <string>
#include <variant>

namespace twinstep::sim {
namespace {

constexpr Nanos kLatest = 2500 * kMillisecond;
constexpr std::size_t kEffects = std::variant_size_v<session::Effect>;

template <typename E>
std::size_t index_of() {
  return session::Effect(E{}).index();
}

FaultKind draw_kind(Random& random) {
  constexpr std::array kKinds = {FaultKind::host_crash,   FaultKind::host_crash,     FaultKind::host_crash,
                                 FaultKind::qemu_death,   FaultKind::qemu_death,     FaultKind::link_cut,
                                 FaultKind::link_cut,     FaultKind::arbiter_outage, FaultKind::operator_failover,
                                 FaultKind::step_failure, FaultKind::beyond_bound};
  return kKinds[random.below(kKinds.size())];
}

std::size_t draw_failing_step(Random& random) {
  const std::array steps = {index_of<session::PrepareStandby>(), index_of<session::LiveSync>(),
                            index_of<session::PausePrimary>(), index_of<session::StreamImage>(),
                            index_of<session::StopSvm>()};
  return steps[random.below(steps.size())];
}

Fault draw_fault(Random& random) {
  Fault fault;
  fault.kind = draw_kind(random);
  fault.host = random.chance(0.65) ? kHostA : kHostB;
  fault.silent = random.chance(0.5);
  if (fault.kind == FaultKind::beyond_bound) {
    fault.effect = index_of<session::PausePrimary>();
    fault.nth = 1 + random.below(6);
  } else if (fault.kind == FaultKind::step_failure) {
    fault.effect = draw_failing_step(random);
    fault.nth = 1 + random.below(3);
  } else if (random.chance(0.5)) {
    fault.at_ns = random.between(kMillisecond, kLatest);
  } else {
    fault.effect = random.below(kEffects);
    fault.nth = 1 + random.below(6);
  }
  const bool for_good = fault.kind != FaultKind::arbiter_outage && random.chance(0.5);
  fault.lasts_ns = for_good ? 0 : random.between(20 * kMillisecond, 2 * kSecond);
  return fault;
}

const char* name_of(FaultKind kind) {
  switch (kind) {
    case FaultKind::host_crash:
      return "host crash";
    case FaultKind::qemu_death:
      return "QEMU death";
    case FaultKind::link_cut:
      return "link cut";
    case FaultKind::arbiter_outage:
      return "arbiter outage";
    case FaultKind::operator_failover:
      return "operator failover";
    case FaultKind::step_failure:
      return "step failure";
    case FaultKind::beyond_bound:
      return "checkpoint beyond the bound";
  }
  return "unknown";
}

}  // namespace

std::vector<Fault> draw_faults(Random& random) {
  std::vector<Fault> faults = {draw_fault(random)};
  if (random.chance(0.5)) faults.push_back(draw_fault(random));
  return faults;
}

std::string describe(const Fault& fault) {
  std::string text = std::string(name_of(fault.kind)) + " at " + host_name(fault.host);
  if (fault.nth != 0) text += ", at effect " + std::to_string(fault.effect) + " number " + std::to_string(fault.nth);
  if (fault.lasts_ns != 0) text += ", for " + std::to_string(fault.lasts_ns / kMillisecond) + " ms";
  return text;
}

}  // namespace twinstep::sim
