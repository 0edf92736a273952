// SPDX-License-Identifier: Apache-2.0
#include "core/checkpoint/mode.hpp"

#include <gtest/gtest.h>

#include <random>

namespace twinstep::checkpoint {
namespace {

constexpr Nanos kMs = kMillisecond;
constexpr ModeLimits kLimits{};

/// Epochs that the guests' disagreement ends at once, until the chooser gives comparing up. Returns how many.
int disagree(ModeChooser& chooser, Nanos now) {
  int epochs = 0;
  while (chooser.compares(now) && epochs < 100) {
    chooser.on_compared_epoch(true, 5 * kMs, now);
    ++epochs;
  }
  return epochs;
}

TEST(Mode, WordsAndModesMatch) {
  for (const Mode mode : {Mode::colo, Mode::periodic, Mode::automatic}) EXPECT_EQ(mode_of(to_string(mode)), mode);
  EXPECT_FALSE(mode_of("remus").has_value());
}

TEST(Mode, WhatTheOperatorSetsHoldsWhateverTheGuestsDo) {
  ModeChooser colo(Mode::colo);
  ModeChooser periodic(Mode::periodic);
  EXPECT_EQ(disagree(colo, 0), 100);
  EXPECT_FALSE(periodic.compares(100 * kSecond));
  EXPECT_FALSE(periodic.next_change(0).has_value());
}

TEST(Mode, AutoGivesUpAfterSomeShortEpochsInARow) {
  ModeChooser chooser(Mode::automatic);
  EXPECT_EQ(disagree(chooser, 0), kLimits.short_epochs_max);
  EXPECT_NE(chooser.reason().find("disagreed within 200 ms"), std::string::npos) << chooser.reason();
}

TEST(Mode, ALongerEpochBetweenKeepsAutoComparing) {
  ModeChooser chooser(Mode::automatic);
  for (int i = 0; i < 50; ++i) chooser.on_compared_epoch(true, i % 3 == 2 ? kLimits.short_epoch_ns : kMs, i * kMs);
  EXPECT_TRUE(chooser.compares(kSecond));
}

TEST(Mode, EpochsThatEndWithoutDisagreementAreNoReasonToGiveUp) {
  ModeChooser chooser(Mode::automatic);
  for (int i = 0; i < 50; ++i) chooser.on_compared_epoch(false, kMs, i * kMs);
  EXPECT_TRUE(chooser.compares(kSecond));
}

TEST(Mode, AutoProbesAtTheMomentThatItNames) {
  ModeChooser chooser(Mode::automatic);
  disagree(chooser, kSecond);
  const auto probe = chooser.next_change(kSecond);
  ASSERT_EQ(probe, kSecond + kLimits.probe_min_ns);
  EXPECT_FALSE(chooser.compares(*probe - 1));
  EXPECT_TRUE(chooser.compares(*probe));
  EXPECT_FALSE(chooser.next_change(*probe).has_value());
}

TEST(Mode, AProbeInVainDoublesTheWaitUpToItsLimit) {
  ModeChooser chooser(Mode::automatic);
  Nanos now = 0;
  disagree(chooser, now);
  for (Nanos wait = kLimits.probe_min_ns; wait < kLimits.probe_max_ns; wait *= 2) {
    now = *chooser.next_change(now);
    EXPECT_EQ(disagree(chooser, now), 1) << "one short epoch is enough for a probe";
    EXPECT_EQ(*chooser.next_change(now) - now, 2 * wait);
  }
  now = *chooser.next_change(now);
  disagree(chooser, now);
  EXPECT_EQ(*chooser.next_change(now) - now, kLimits.probe_max_ns);
}

TEST(Mode, AGoodEpochEndsTheTrial) {
  ModeChooser chooser(Mode::automatic);
  disagree(chooser, 0);
  Nanos now = *chooser.next_change(0);
  disagree(chooser, now);
  now = *chooser.next_change(now);
  chooser.on_compared_epoch(true, kLimits.good_epoch_ns, now);
  EXPECT_EQ(chooser.reason(), "the guests agree again");
  EXPECT_EQ(disagree(chooser, now), kLimits.short_epochs_max);
  EXPECT_EQ(*chooser.next_change(now) - now, kLimits.probe_min_ns);
}

TEST(Mode, SettingAModeForgetsWhatWasLearned) {
  ModeChooser chooser(Mode::automatic);
  disagree(chooser, 0);
  chooser.set(Mode::automatic);
  EXPECT_TRUE(chooser.compares(0));
}

/// Whatever the epochs are like: a time is named when not comparing, it is never further than the longest wait, and
/// comparing begins exactly then.
TEST(Mode, AutoAlwaysComesBackWithinItsLongestWait) {
  std::mt19937_64 random(7);
  for (int run = 0; run < 200; ++run) {
    ModeChooser chooser(Mode::automatic);
    Nanos now = 0;
    for (int i = 0; i < 300; ++i) {
      if (chooser.compares(now)) {
        const auto useful = static_cast<Nanos>(random() % static_cast<std::uint64_t>(2 * kSecond));
        chooser.on_compared_epoch(random() % 4 != 0, random() % 2 == 0 ? useful / 20 : useful, now);
        now += useful;
      }
      const auto change = chooser.next_change(now);
      ASSERT_EQ(change.has_value(), !chooser.compares(now));
      if (!change) continue;
      ASSERT_GT(*change, now);
      ASSERT_LE(*change - now, kLimits.probe_max_ns);
      ASSERT_FALSE(chooser.compares(*change - 1));
      now = *change;
      ASSERT_TRUE(chooser.compares(now));
    }
  }
}

}  // namespace
}  // namespace twinstep::checkpoint
