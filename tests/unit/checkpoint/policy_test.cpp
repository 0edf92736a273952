// SPDX-License-Identifier: Apache-2.0
#include "core/checkpoint/policy.hpp"

#include <gtest/gtest.h>

namespace twinstep::checkpoint {
namespace {

constexpr Nanos kMs = kMillisecond;

Policy started(Nanos now) {
  Policy policy{PolicyLimits{}};
  policy.on_checkpoint_begun(Cause::initial, now - 3 * kSecond);
  policy.on_checkpoint_done(Cause::initial, now - 3 * kSecond, now);
  policy.on_epoch_started(true, now);
  return policy;
}

void checkpoint(Policy& policy, Cause cause, Nanos requested_at, Nanos done_at) {
  policy.on_checkpoint_begun(cause, requested_at);
  policy.on_pause_done(requested_at + 5 * kMs);
  policy.on_checkpoint_done(cause, requested_at, done_at);
}

TEST(Policy, NothingIsDueInAQuietEpoch) {
  const Policy policy = started(0);
  EXPECT_FALSE(policy.due(9'999 * kMs).has_value());
}

TEST(Policy, EpochLimitFallsDueAtTheDeadlineItNames) {
  const Policy policy = started(5 * kMs);
  ASSERT_TRUE(policy.next_deadline().has_value());
  EXPECT_EQ(policy.due(*policy.next_deadline()), Cause::epoch_limit);
  EXPECT_FALSE(policy.due(*policy.next_deadline() - 1).has_value());
}

TEST(Policy, DivergenceIsDueAtOnceAndTheFirstCauseCounts) {
  Policy policy = started(0);
  policy.on_diverged(compare::Cause::ack, 1);
  policy.on_diverged(compare::Cause::content, 2);
  EXPECT_EQ(policy.due(2), Cause::ack);
}

TEST(Policy, ANewEpochForgetsTheOldOnesDivergence) {
  Policy policy = started(0);
  policy.on_diverged(compare::Cause::content, 1);
  checkpoint(policy, Cause::content, 1, 40 * kMs);
  EXPECT_FALSE(policy.due(41 * kMs).has_value());
  policy.on_epoch_started(true, 41 * kMs);
  EXPECT_FALSE(policy.due(42 * kMs).has_value());
}

TEST(Policy, FirstSynchronisationDoesNotSetHold) {
  EXPECT_EQ(started(0).hold_ns(), PolicyLimits{}.hold_initial_ns);
}

TEST(Policy, HoldFollowsTheCostOfACheckpoint) {
  Policy policy = started(0);
  checkpoint(policy, Cause::content, 5 * kSecond, 5 * kSecond + 40 * kMs);
  EXPECT_EQ(policy.hold_ns(), 60 * kMs);
}

TEST(Policy, HoldStaysWithinItsBounds) {
  Policy policy = started(0);
  checkpoint(policy, Cause::content, 5 * kSecond, 5 * kSecond + 1);
  EXPECT_EQ(policy.hold_ns(), PolicyLimits{}.hold_min_ns);
  policy.on_epoch_started(true, 6 * kSecond);
  checkpoint(policy, Cause::content, 8 * kSecond, 80 * kSecond);
  EXPECT_EQ(policy.hold_ns(), PolicyLimits{}.hold_max_ns);
}

TEST(Policy, AStormOfLateTwinsDoublesHoldAndAQuietEpochResetsIt) {
  Policy policy = started(0);
  checkpoint(policy, Cause::stall, 200 * kMs, 240 * kMs);
  EXPECT_EQ(policy.hold_ns(), 200 * kMs);
  policy.on_epoch_started(true, 240 * kMs);
  checkpoint(policy, Cause::stall, 400 * kMs, 440 * kMs);
  EXPECT_EQ(policy.hold_ns(), 400 * kMs);
  policy.on_epoch_started(true, 440 * kMs);
  checkpoint(policy, Cause::stall, 3 * kSecond, 3 * kSecond + 40 * kMs);
  EXPECT_EQ(policy.hold_ns(), 60 * kMs);
}

Policy resting(Mode mode, Nanos now) {
  Policy policy{PolicyLimits{}, mode};
  policy.on_checkpoint_begun(Cause::initial, now - 20 * kMs);
  policy.on_pause_done(now - 10 * kMs);
  policy.on_checkpoint_done(Cause::initial, now - 20 * kMs, now);
  policy.on_epoch_started(false, now);
  return policy;
}

TEST(Policy, PeriodicTakesACheckpointAtItsIntervalIfOutputWaits) {
  Policy policy = resting(Mode::periodic, kSecond);
  EXPECT_FALSE(policy.due(kSecond + 100 * kMs).has_value());
  policy.on_diverged(compare::Cause::output, kSecond + kMs);
  const Nanos due_at = kSecond - 20 * kMs + PolicyLimits{}.period_ns;  // counted from where the last one began
  EXPECT_EQ(policy.next_deadline(), due_at);
  EXPECT_FALSE(policy.due(due_at - 1).has_value());
  EXPECT_EQ(policy.due(due_at), Cause::output);
}

TEST(Policy, ARestThatWasLongSoFarMakesWaitingOutputDueAtOnce) {
  Policy policy = resting(Mode::periodic, kSecond);
  policy.on_diverged(compare::Cause::output, 2 * kSecond);
  EXPECT_EQ(policy.due(2 * kSecond), Cause::output);
}

TEST(Policy, PressureNeedNotWaitForTheInterval) {
  Policy policy = resting(Mode::periodic, kSecond);
  policy.on_diverged(compare::Cause::output, kSecond);
  policy.on_diverged(compare::Cause::pressure, kSecond);
  EXPECT_EQ(policy.due(kSecond), Cause::pressure);
}

TEST(Policy, ARestingEpochHasALongestTimeToo) {
  const Policy policy = resting(Mode::periodic, 0);
  EXPECT_EQ(policy.next_deadline(), PolicyLimits{}.epoch_max_ns);
  EXPECT_EQ(policy.due(PolicyLimits{}.epoch_max_ns), Cause::epoch_limit);
}

TEST(Policy, ComparedOutputIsNoReasonForACheckpoint) {
  Policy policy = started(0);
  policy.on_diverged(compare::Cause::output, 1);
  EXPECT_FALSE(policy.due(kSecond).has_value());
}

TEST(Policy, AnotherModeTakesEffectByACheckpoint) {
  Policy policy = started(0);
  policy.set_mode(Mode::periodic);
  EXPECT_EQ(policy.due(1), Cause::mode);
  EXPECT_FALSE(policy.on_checkpoint_begun(Cause::mode, 1));
  policy.on_checkpoint_done(Cause::mode, 1, 20 * kMs);
  policy.on_epoch_started(false, 20 * kMs);
  EXPECT_FALSE(policy.due(21 * kMs).has_value());
  policy.set_mode(Mode::colo);
  EXPECT_EQ(policy.due(22 * kMs), Cause::mode);
}

/// Replies that never agree: auto comes to rest, lets output out without waiting for a twin, and tries again later.
TEST(Policy, AutoRestsWhenRepliesNeverAgree) {
  Policy policy{PolicyLimits{}, Mode::automatic};
  Nanos now = kSecond;
  ASSERT_TRUE(policy.on_checkpoint_begun(Cause::initial, now));
  policy.on_checkpoint_done(Cause::initial, now, now);
  policy.on_epoch_started(true, now);
  bool compares = true;
  for (int epochs = 0; compares; ++epochs) {
    ASSERT_LT(epochs, ModeLimits{}.short_epochs_max);
    now += 10 * kMs;
    policy.on_diverged(compare::Cause::content, now);
    ASSERT_EQ(policy.due(now), Cause::content);
    compares = policy.on_checkpoint_begun(Cause::content, now);
    policy.on_pause_done(now + 6 * kMs);
    policy.on_checkpoint_done(Cause::content, now, now + 10 * kMs);
    now += 10 * kMs;
    policy.on_epoch_started(compares, now);
  }
  policy.on_diverged(compare::Cause::output, now);
  ASSERT_TRUE(policy.next_deadline().has_value());
  EXPECT_LE(*policy.next_deadline(), now + 6 * kMs);
  EXPECT_EQ(policy.due(*policy.next_deadline()), Cause::output);
  EXPECT_EQ(policy.due(now + ModeLimits{}.probe_min_ns), Cause::mode);
}

/// A checkpoint that waited HOLD for a twin let nothing out in that time: the epoch counts without it.
TEST(Policy, TimeSpentWaitingForATwinIsNotUseful) {
  PolicyLimits limits;
  limits.hold_initial_ns = 400 * kMs;
  Policy policy{limits, Mode::automatic};
  policy.on_checkpoint_begun(Cause::initial, 0);
  policy.on_checkpoint_done(Cause::initial, 0, 0);
  policy.on_epoch_started(true, 0);
  Nanos now = 0;
  bool compares = true;
  for (int epochs = 0; compares && epochs < ModeLimits{}.short_epochs_max; ++epochs) {
    now += policy.hold_ns() + 50 * kMs;
    compares = policy.on_checkpoint_begun(Cause::stall, now);
    policy.on_checkpoint_done(Cause::stall, now, now + 40 * kMs);
    now += 40 * kMs;
    policy.on_epoch_started(compares, now);
  }
  EXPECT_FALSE(compares);
}

}  // namespace
}  // namespace twinstep::checkpoint
