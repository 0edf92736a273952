// SPDX-License-Identifier: Apache-2.0
// The hold clock (rule 9).
#include <gtest/gtest.h>

#include "pair.hpp"

namespace twinstep::compare::testing {
namespace {

constexpr Nanos kHold = 50 * kMillisecond;
constexpr Nanos kGrace = 200 * kMillisecond;

Segment data(std::uint32_t seq, std::string_view text, std::uint16_t peer_port = 4242) {
  return {.seq = seq, .payload = bytes_of(text), .peer_port = peer_port};
}

class HoldTest : public ::testing::Test {
 protected:
  HoldTest() { pair_.comparer.set_hold(kHold); }

  /// Lets time pass as a daemon does: a tick at each deadline.
  void pass(Nanos duration) {
    const Nanos until = pair_.now + duration;
    for (auto deadline = pair_.comparer.next_deadline(); deadline && *deadline <= until;
         deadline = pair_.comparer.next_deadline()) {
      ASSERT_LT(++ticks_, 1000) << "next_deadline() stands still";
      pair_.now = std::max(pair_.now, *deadline);
      pair_.tick();
    }
    pair_.now = until;
  }
  /// The time from now until the divergence, within a minute.
  Nanos until_diverged() {
    const Nanos start = pair_.now;
    while (!pair_.diverged() && pair_.now - start < 60 * kSecond) pass(kMillisecond);
    return pair_.now - start;
  }
  /// The SVM's first output of the epoch, on a flow of its own.
  void svm_speaks() { pair_.svm(data(1, "x", 1)); }

  Pair pair_;
  int ticks_ = 0;
};

TEST_F(HoldTest, NothingHeldNoDeadline) {
  EXPECT_FALSE(pair_.comparer.next_deadline().has_value());
  svm_speaks();
  EXPECT_FALSE(pair_.comparer.next_deadline().has_value());
}

TEST_F(HoldTest, WaitingBytesStall) {
  svm_speaks();
  pair_.pvm(data(100, "abc"));
  EXPECT_EQ(until_diverged(), kHold);
  EXPECT_EQ(pair_.diverged(), Cause::stall);
  EXPECT_FALSE(pair_.comparer.next_deadline().has_value()) << "once per epoch";
}

TEST_F(HoldTest, WaitingAcknowledgementIsNamed) {
  pair_.svm(data(100, "abc"));
  Segment segment = data(100, "abc");
  segment.ack = 9;
  pair_.pvm(segment);
  EXPECT_EQ(until_diverged(), kHold);
  EXPECT_EQ(pair_.diverged(), Cause::ack);
}

TEST_F(HoldTest, WaitingDatagramIsNamed) {
  svm_speaks();
  pass(kHold);
  pair_.pvm_frame(encode_udp("u"));
  EXPECT_EQ(until_diverged(), kHold);
  EXPECT_EQ(pair_.diverged(), Cause::datagram);
}

TEST_F(HoldTest, BeginsWithTheSvmsFirstOutput) {
  pair_.pvm(data(100, "abc"));
  pass(kHold * 2);
  EXPECT_FALSE(pair_.diverged().has_value());
  svm_speaks();
  EXPECT_EQ(until_diverged(), kHold);
}

TEST_F(HoldTest, GraceEnds) {
  pair_.pvm(data(100, "abc"));
  EXPECT_EQ(until_diverged(), kGrace + kHold);
}

TEST_F(HoldTest, FirstOutputAfterATickMovesTheDeadlineForward) {
  pair_.pvm(data(100, "abc"));
  pass(kHold);  // the deadline that was looked at is the grace's
  svm_speaks();
  EXPECT_EQ(until_diverged(), kHold);
}

TEST_F(HoldTest, DoesNotRunWhileTheSvmStands) {
  svm_speaks();
  pair_.begin_epoch();
  pair_.commit();
  pair_.pvm(data(100, "abc"));
  pass(10 * kSecond);
  EXPECT_FALSE(pair_.diverged().has_value());
  pair_.run_svm();
  EXPECT_EQ(until_diverged(), kGrace + kHold);
}

TEST_F(HoldTest, ProgressOfTheFlowPostponesUpToAnAge) {
  svm_speaks();
  constexpr std::string_view kText = "abcdefghijklmnopqrstuvwxyz";
  pair_.pvm(data(100, kText));
  Nanos waited = 0;
  for (std::uint32_t i = 0; !pair_.diverged() && i < 20; ++i) {
    pair_.svm(data(100 + i, kText.substr(i, 1)));
    pass(kHold - kMillisecond);
    waited += kHold - kMillisecond;
  }
  EXPECT_EQ(pair_.diverged(), Cause::stall);
  EXPECT_GE(waited, 5 * kHold);
  EXPECT_LT(waited, 6 * kHold);
}

TEST_F(HoldTest, RepeatedRecordsAreNoProgress) {
  svm_speaks();
  pair_.pvm(data(100, "abcdef"));
  pair_.svm(data(100, "ab"));
  pass(kHold / 2);
  pair_.svm(data(100, "ab"));
  EXPECT_EQ(until_diverged(), kHold / 2);
}

TEST_F(HoldTest, ProgressOfAnotherFlowDoesNotHelp) {
  svm_speaks();
  pair_.pvm(data(100, "abc"));
  pass(kHold / 2);
  pair_.svm(data(100, "abc", 7));
  EXPECT_EQ(until_diverged(), kHold / 2);
}

TEST_F(HoldTest, ReleasedFramesHaveNoDeadline) {
  svm_speaks();
  pair_.pvm(data(100, "abc"));
  pair_.pvm_frame(encode_udp("u"));
  pass(kHold / 2);
  pair_.svm(data(100, "abc"));
  pair_.svm_frame(encode_udp("u"));
  pass(kSecond);
  EXPECT_FALSE(pair_.diverged().has_value());
  EXPECT_FALSE(pair_.comparer.next_deadline().has_value());
  EXPECT_LT(ticks_, 4) << "an idle comparison wakes nobody";
}

TEST_F(HoldTest, ShorterHoldAppliesToWhatWaits) {
  svm_speaks();
  pair_.pvm(data(100, "abc"));
  pair_.comparer.set_hold(20 * kMillisecond);
  EXPECT_EQ(until_diverged(), 20 * kMillisecond);
}

TEST_F(HoldTest, LaterFrameOfTheFlowKeepsTheFirstOnesDeadline) {
  svm_speaks();
  pair_.pvm(data(100, "abc"));
  pass(kHold / 2);
  pair_.pvm(data(103, "def"));
  EXPECT_EQ(until_diverged(), kHold / 2);
}

}  // namespace
}  // namespace twinstep::compare::testing
