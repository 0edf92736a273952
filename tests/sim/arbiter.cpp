// SPDX-License-Identifier: Apache-2.0
#include "arbiter.hpp"

namespace twinstep::sim {
namespace {

constexpr Nanos kDelayMin = kMillisecond / 5;
constexpr Nanos kDelayMax = 5 * kMillisecond;
constexpr Nanos kTimeout = 40 * kMillisecond;

using failover::ArbiterReply;
using Status = ArbiterReply::Status;

}  // namespace

void Arbiter::read(const Answer& answer) {
  ask([this] { return ArbiterReply{Status::ok, record_}; }, answer);
}

void Arbiter::swap(const std::optional<failover::Record>& expected, const failover::Record& desired,
                   const Answer& answer) {
  ask(
      [this, expected, desired, asked_at = context_.now()] {
        if (record_ != expected) return ArbiterReply{Status::conflict, record_};
        record_ = desired;
        context_.trace("arbiter", "generation " + std::to_string(desired.generation) + ": primary '" + desired.primary +
                                      "', secondary '" + desired.secondary + "'");
        watcher_(asked_at);
        return ArbiterReply{Status::ok, record_};
      },
      answer);
}

void Arbiter::ask(const Operation& operation, const Answer& answer) {
  auto& scheduler = context_.scheduler;
  Random& random = context_.random;
  const auto give_up = [answer] { answer(ArbiterReply{Status::unreachable, {}}); };
  if (!reachable_) {
    scheduler.after(kTimeout, give_up);
    return;
  }
  const bool question_lost = random.chance(context_.profile.arbiter_loss);
  const bool answer_lost = random.chance(context_.profile.arbiter_loss);
  const bool late = question_lost && random.chance(0.3);
  if (question_lost || answer_lost) scheduler.after(kTimeout, give_up);
  if (question_lost && !late) return;
  const Nanos delay = late ? random.between(kTimeout / 2, 3 * kTimeout) : random.between(kDelayMin, kDelayMax);
  scheduler.after(delay, [this, operation, answer, question_lost, answer_lost] {
    const ArbiterReply reply = operation();
    if (question_lost || answer_lost) {
      context_.mark(question_lost ? "arbiter question carried out late" : "arbiter answer lost");
      return;
    }
    context_.scheduler.after(context_.random.between(kDelayMin, kDelayMax), [answer, reply] { answer(reply); });
  });
}

}  // namespace twinstep::sim
