// SPDX-License-Identifier: Apache-2.0
#include "core/checkpoint/pack_rule.hpp"

#include <gtest/gtest.h>

namespace twinstep::checkpoint {
namespace {

constexpr std::uint64_t kMega = 1'000'000;

class PackRuleTest : public ::testing::Test {
 protected:
  /// The link's rate, measured often enough that it is believed.
  void link(std::uint64_t mega_bytes_per_s) {
    for (int i = 0; i < 30; ++i) rule_.on_link(mega_bytes_per_s * kMega);
  }
  /// 100 MB become `percent` of it at so many MB/s.
  void pack(std::uint64_t percent, std::uint64_t mega_bytes_per_s) {
    for (int i = 0; i < 30; ++i)
      rule_.on_packed(100 * kMega, percent * kMega, static_cast<Nanos>(100 * kSecond / mega_bytes_per_s));
  }

  PackRule rule_;
};

TEST_F(PackRuleTest, NothingIsTriedWhileTheLinkIsFastOrUnknown) {
  EXPECT_FALSE(rule_.wants_sample());
  rule_.on_link(0);
  EXPECT_FALSE(rule_.wants_sample());
  link(260);
  EXPECT_FALSE(rule_.wants_sample());
  pack(1, 100'000);
  link(2000);
  EXPECT_FALSE(rule_.packs()) << "whatever a sample says";
}

TEST_F(PackRuleTest, ASlowLinkIsWorthCompressing) {
  link(12);
  EXPECT_TRUE(rule_.wants_sample());
  EXPECT_FALSE(rule_.packs()) << "before a sample";
  pack(40, 500);
  link(12);
  EXPECT_TRUE(rule_.packs());
  EXPECT_NEAR(rule_.gain(), 2.5, 0.01);
}

TEST_F(PackRuleTest, AtALimitOfZeroNothingIsEverTried) {
  rule_ = PackRule(0);
  pack(40, 500);
  link(1);
  EXPECT_FALSE(rule_.wants_sample());
  EXPECT_FALSE(rule_.packs());
}

TEST_F(PackRuleTest, ContentThatDoesNotShrinkIsNot) {
  pack(90, 500);
  link(12);
  EXPECT_FALSE(rule_.packs());
}

TEST_F(PackRuleTest, AProcessorThatIsSlowerThanTheLinkIsNot) {
  pack(20, 100);
  link(110);
  EXPECT_FALSE(rule_.packs());
  link(70);
  EXPECT_TRUE(rule_.packs()) << "by what the processor can do, 1.43 times as fast";
}

TEST_F(PackRuleTest, OneMeasurementChangesNothing) {
  pack(40, 500);
  link(300);
  for (int i = 1; i < PackRule::kAgreeing; ++i) rule_.on_link(1);
  EXPECT_TRUE(rule_.wants_sample());
  EXPECT_FALSE(rule_.packs());
  rule_.on_link(1);
  EXPECT_TRUE(rule_.packs());
}

TEST_F(PackRuleTest, BetweenTheTwoGainsNothingChanges) {
  pack(83, 10'000);  // 1.2 times as fast
  link(12);
  EXPECT_FALSE(rule_.packs());
  pack(50, 10'000);
  link(12);
  ASSERT_TRUE(rule_.packs());
  pack(83, 10'000);
  link(12);
  EXPECT_TRUE(rule_.packs());
  pack(95, 10'000);
  link(12);
  EXPECT_FALSE(rule_.packs());
}

TEST_F(PackRuleTest, ALinkThatBecomesFastEndsIt) {
  pack(40, 500);
  link(12);
  ASSERT_TRUE(rule_.packs());
  link(3000);
  EXPECT_FALSE(rule_.packs());
}

}  // namespace
}  // namespace twinstep::checkpoint
