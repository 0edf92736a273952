// SPDX-License-Identifier: Apache-2.0
#include "memory/sync_pace.hpp"

#include <gtest/gtest.h>

namespace twinstep::memory {
namespace {

LiveRound round_of(std::uint64_t sent, std::uint64_t left) {
  return {sent, left, sent * kPageBytes, true};
}

TEST(SyncPace, EndsWhenFewPagesAreLeft) {
  SyncPace pace(1U << 20);
  EXPECT_TRUE(pace.after_round(round_of(100'000, 10'000)));
  EXPECT_FALSE(pace.after_round(round_of(10'000, SyncPace::kPagesLeftMax)));
  EXPECT_EQ(pace.slowdown(), 0);
}

TEST(SyncPace, LeavesNoMoreThanACheckpointCanCarry) {
  SyncPace pace(1000);
  EXPECT_TRUE(pace.after_round(round_of(100'000, 501)));
  EXPECT_FALSE(pace.after_round(round_of(501, 500)));
}

TEST(SyncPace, EndsWhenAnotherRoundWouldSendNothing) {
  SyncPace pace(1U << 20);
  auto round = round_of(100'000, 50'000);
  round.repeatable = false;
  EXPECT_FALSE(pace.after_round(round));
}

TEST(SyncPace, SlowsAGuestThatWritesAsFastAsPagesAreSentStepByStep) {
  SyncPace pace(1U << 20);
  EXPECT_TRUE(pace.after_round(round_of(50'000, 50'000)));
  EXPECT_EQ(pace.slowdown(), 0) << "one futile round may be chance";
  for (int step = 1; step <= SyncPace::kSlowdownMax; ++step) {
    EXPECT_TRUE(pace.after_round(round_of(50'000, 50'000)));
    EXPECT_EQ(pace.slowdown(), step);
  }
  EXPECT_TRUE(pace.after_round(round_of(50'000, 50'000)));
  EXPECT_EQ(pace.slowdown(), SyncPace::kSlowdownMax);
}

TEST(SyncPace, AGainKeepsTheSlowdownThatGaveIt) {
  SyncPace pace(1U << 20);
  for (int i = 0; i < 3; ++i) pace.after_round(round_of(50'000, 50'000));
  EXPECT_EQ(pace.slowdown(), 2);
  EXPECT_TRUE(pace.after_round(round_of(50'000, 20'000)));
  EXPECT_EQ(pace.slowdown(), 2);
}

TEST(SyncPace, EndsInAnyCase) {
  SyncPace pace(1U << 20);
  while (pace.after_round(round_of(50'000, 50'000))) {
  }
  EXPECT_EQ(pace.rounds(), SyncPace::kRoundsMax);
}

}  // namespace
}  // namespace twinstep::memory
