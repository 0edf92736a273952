// SPDX-License-Identifier: Apache-2.0
#include "core/checkpoint/policy.hpp"

#include <gtest/gtest.h>

namespace twinstep::checkpoint {
namespace {

constexpr Nanos kMs = kMillisecond;

Policy started(Nanos now) {
  Policy policy{PolicyLimits{}};
  policy.on_checkpoint_done(Cause::initial, now - 3 * kSecond, now);
  policy.on_epoch_started(now);
  return policy;
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
  policy.on_checkpoint_done(Cause::content, 1, 40 * kMs);
  EXPECT_FALSE(policy.due(41 * kMs).has_value());
  policy.on_epoch_started(41 * kMs);
  EXPECT_FALSE(policy.due(42 * kMs).has_value());
}

TEST(Policy, FirstSynchronisationDoesNotSetHold) {
  EXPECT_EQ(started(0).hold_ns(), PolicyLimits{}.hold_initial_ns);
}

TEST(Policy, HoldFollowsTheCostOfACheckpoint) {
  Policy policy = started(0);
  policy.on_checkpoint_done(Cause::content, 5 * kSecond, 5 * kSecond + 40 * kMs);
  EXPECT_EQ(policy.hold_ns(), 60 * kMs);
}

TEST(Policy, HoldStaysWithinItsBounds) {
  Policy policy = started(0);
  policy.on_checkpoint_done(Cause::content, 5 * kSecond, 5 * kSecond + 1);
  EXPECT_EQ(policy.hold_ns(), PolicyLimits{}.hold_min_ns);
  policy.on_epoch_started(6 * kSecond);
  policy.on_checkpoint_done(Cause::content, 8 * kSecond, 80 * kSecond);
  EXPECT_EQ(policy.hold_ns(), PolicyLimits{}.hold_max_ns);
}

TEST(Policy, AStormOfLateTwinsDoublesHoldAndAQuietEpochResetsIt) {
  Policy policy = started(0);
  policy.on_checkpoint_done(Cause::stall, 200 * kMs, 240 * kMs);
  EXPECT_EQ(policy.hold_ns(), 200 * kMs);
  policy.on_epoch_started(240 * kMs);
  policy.on_checkpoint_done(Cause::stall, 400 * kMs, 440 * kMs);
  EXPECT_EQ(policy.hold_ns(), 400 * kMs);
  policy.on_epoch_started(440 * kMs);
  policy.on_checkpoint_done(Cause::stall, 3 * kSecond, 3 * kSecond + 40 * kMs);
  EXPECT_EQ(policy.hold_ns(), 60 * kMs);
}

}  // namespace
}  // namespace twinstep::checkpoint
