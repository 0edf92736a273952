// SPDX-License-Identifier: Apache-2.0
// What anybody outside can make the VMs send neither pushes their own connections out nor costs checkpoints without
// end.
#include <gtest/gtest.h>

#include "core/compare/token_bucket.hpp"
#include "pair.hpp"

namespace twinstep::compare::testing {
namespace {

constexpr Nanos kHold = 50 * kMillisecond;
constexpr std::size_t kHeldMax = 64;
constexpr std::size_t kPart = kHeldMax * 3 / 8;
constexpr Limits kLimits{.held_frames_max = kHeldMax, .flows_max = 4, .half_open_flows_max = 100};

/// What a VM answers stranger number n: SYN-ACK with an initial number of its own.
Segment answer(unsigned n, std::uint32_t isn) {
  return {.seq = isn + n, .ack = 1, .flags = kSyn | kAck, .peer_port = static_cast<std::uint16_t>(1000 + n)};
}

Segment data(std::uint32_t seq, std::string_view text) {
  return {.seq = seq, .ack = 1, .payload = bytes_of(text)};
}

class FloodTest : public ::testing::Test {
 protected:
  FloodTest() { pair_.comparer.set_hold(kHold); }

  /// A connection whose numbers differ, so that forgetting it shows.
  void open_connection() {
    pair_.pvm({.seq = 99, .ack = 1, .flags = kSyn | kAck});
    pair_.svm({.seq = 499, .ack = 1, .flags = kSyn | kAck});
    says(100, "first");
  }
  /// Both VMs say it on that connection, and it leaves.
  void says(std::uint32_t seq, std::string_view text) {
    const FrameId frame = pair_.pvm(data(seq, text));
    pair_.svm(data(seq + 400, text));
    EXPECT_TRUE(pair_.is_out(frame)) << text;
    EXPECT_FALSE(pair_.diverged()) << text << ": " << pair_.all<Diverged>().front().detail;
  }
  /// A checkpoint at each divergence, for `duration`; `each` happens every 10 ms. Returns the number of checkpoints.
  template <typename Each>
  int checkpoints_during(Nanos duration, Each&& each) {
    int checkpoints = 0;
    for (const Nanos until = pair_.now + duration; pair_.now < until; pair_.now += 10 * kMillisecond) {
      each();
      pair_.svm({.seq = 1, .payload = bytes_of("x"), .peer_port = 1});  // it is awake
      pair_.tick();
      if (!pair_.diverged()) continue;
      ++checkpoints;
      pair_.effects.clear();
      pair_.checkpoint();
    }
    return checkpoints;
  }

  Pair pair_{test_key(), kLimits};
};

TEST_F(FloodTest, AnswersToStrangersPushNoConnectionOut) {
  open_connection();
  for (unsigned n = 0; n < 1000; ++n) {
    pair_.pvm(answer(n, 70000));
    pair_.svm(answer(n, 90000));
  }
  EXPECT_EQ(pair_.comparer.stats().flows_half_open, kLimits.half_open_flows_max);
  EXPECT_EQ(pair_.comparer.stats().frames_expended, 0U);
  says(105, "second");
}

TEST_F(FloodTest, ConnectionsBeyondTheirOwnBoundDoMakeRoom) {
  open_connection();
  for (std::uint16_t port = 0; port < 4; ++port) {
    Segment other = data(1, "x");
    other.peer_port = port;
    pair_.pvm(other);
    pair_.svm(other);
  }
  EXPECT_EQ(pair_.comparer.stats().flows, kLimits.flows_max);
  pair_.pvm(data(105, "second"));
  pair_.svm(data(505, "second"));
  EXPECT_EQ(pair_.diverged(), Cause::base) << "its numbers are forgotten";
}

TEST_F(FloodTest, ResetsToStrangersPushNoConnectionOut) {
  open_connection();
  for (std::uint16_t port = 5000; port < 6000; ++port) {
    const Segment reset{.seq = 7, .flags = kRst, .peer_port = port};
    pair_.pvm(reset);
    pair_.svm(reset);
  }
  says(105, "second");
}

TEST_F(FloodTest, UnansweredAnswersAreBoundedAndNoPressure) {
  open_connection();
  std::vector<FrameId> frames;
  for (unsigned n = 0; n < 90; ++n) frames.push_back(pair_.pvm(answer(n, 70000)));
  EXPECT_EQ(pair_.diverged(), Cause::pressure) << "a checkpoint comes before a frame is lost";
  EXPECT_EQ(pair_.comparer.stats().frames_held, kPart);
  EXPECT_EQ(pair_.comparer.stats().frames_expended, 90 - kPart);
  const auto dropped = pair_.all<Drop>();
  ASSERT_EQ(dropped.size(), 90 - kPart);
  EXPECT_EQ(dropped.front().id, frames.at(kPart)) << "the newest ones go";
  const FrameId second = pair_.pvm(data(105, "second"));
  pair_.svm(data(505, "second"));
  EXPECT_TRUE(pair_.is_out(second)) << "the connection goes on";

  pair_.svm(answer(0, 90000));
  EXPECT_TRUE(pair_.is_out(frames.front())) << "those that wait still have a chance";
  const FrameId again = pair_.pvm(answer(89, 70000));
  pair_.svm(answer(89, 90000));
  EXPECT_TRUE(pair_.is_out(again)) << "a dropped one's repetition is as good";
}

TEST_F(FloodTest, AForgottenFlowsFramesAreFreed) {
  Pair pair(test_key(), {.held_frames_max = 1000, .half_open_flows_max = 10});
  const FrameId first = pair.pvm(answer(0, 70000));
  for (unsigned n = 1; n <= 10; ++n) pair.pvm(answer(n, 70000));
  const auto dropped = pair.all<Drop>();
  ASSERT_EQ(dropped.size(), 1U);
  EXPECT_EQ(dropped.front().id, first);
  EXPECT_EQ(pair.comparer.stats().frames_held, 10U);
  pair.now += 60 * kSecond;
  pair.run_svm();
  pair.tick();
}

TEST_F(FloodTest, UnansweredAnswersAskForFewCheckpoints) {
  unsigned n = 0;
  const int checkpoints = checkpoints_during(20 * kSecond, [&] { pair_.pvm(answer(n++ % 60000, 70000)); });
  EXPECT_GE(checkpoints, 20) << "they do get through";
  EXPECT_LE(checkpoints, 10 + 20 * 2 + 1);
}

TEST_F(FloodTest, AConnectionsOwnStallsAlwaysAsk) {
  open_connection();
  std::uint32_t seq = 105;
  const int checkpoints = checkpoints_during(20 * kSecond, [&] { pair_.pvm(data(seq++, "x")); });
  EXPECT_GT(checkpoints, 100);
}

TEST_F(FloodTest, DatagramsWithoutTwinsAskForFewCheckpointsAndTheOldestGo) {
  int n = 0;
  const int checkpoints = checkpoints_during(20 * kSecond, [&] {
    for (int i = 0; i < 10; ++i) pair_.pvm_frame(encode_udp(std::to_string(n++)));
    EXPECT_LE(pair_.comparer.stats().frames_held, kHeldMax);
  });
  EXPECT_GE(checkpoints, 20) << "even where no datagram waits long enough to be overdue";
  EXPECT_LE(checkpoints, 10 + 20 * 2 + 1);
  EXPECT_GT(pair_.comparer.stats().frames_expended, 10000U);
}

TEST_F(FloodTest, OfDatagramsWithoutTwinsTheOldestGoes) {
  const FrameId oldest = pair_.pvm_frame(encode_udp("oldest"));
  for (std::size_t i = 0; i < kPart; ++i) pair_.pvm_frame(encode_udp(std::to_string(i)));
  const auto dropped = pair_.all<Drop>();
  ASSERT_EQ(dropped.size(), 1U);
  EXPECT_EQ(dropped.front().id, oldest);
  pair_.svm_frame(encode_udp("oldest"));
  EXPECT_FALSE(pair_.is_out(oldest));
}

TEST_F(FloodTest, NothingIsDroppedForWantOfATwinWhileTheSvmStandsStill) {
  pair_.begin_epoch();
  for (std::size_t i = 0; i < kHeldMax; ++i) pair_.pvm_frame(encode_udp(std::to_string(i)));
  EXPECT_EQ(pair_.comparer.stats().frames_expended, 0U);
  pair_.pvm_frame(encode_udp("one too many"));
  EXPECT_EQ(pair_.comparer.stats().frames_expended, 1U) << "the bound on all held frames stays";
}

TEST_F(FloodTest, AFewDatagramsAskAtOnce) {
  const int checkpoints = checkpoints_during(2 * kSecond, [&, n = 0]() mutable {
    if (n++ % 20 == 0) pair_.pvm_frame(encode_udp(std::to_string(n)));
  });
  EXPECT_EQ(checkpoints, 10);
}

TEST_F(FloodTest, TheTrackerKeepsConnections) {
  SvmTracker tracker(test_key(), {.flows_max = 4, .half_open_flows_max = 10});
  const auto record_of = [&](const Segment& segment) {
    const Bytes bytes = encode(segment);
    return tracker.on_frame(parse(bytes, meta_of(bytes, test_key()), test_key()));
  };
  record_of({.seq = 499, .ack = 1, .flags = kSyn | kAck});
  record_of(data(500, "first"));
  for (unsigned n = 0; n < 100; ++n) record_of(answer(n, 90000));
  const auto record = record_of(data(505, "second"));
  ASSERT_TRUE(record);
  EXPECT_EQ(record->base, 500U) << "the stream goes on from where it began";
  EXPECT_EQ(tracker.flows().size(), 11U);
  EXPECT_EQ(tracker.flows().back().flow, flow_of(data(0, "")));
}

TEST(TokenBucket, GivesABurstAndThenAtItsRate) {
  TokenBucket bucket(2, kSecond);
  Nanos now = 100 * kSecond;
  EXPECT_TRUE(bucket.take(now));
  EXPECT_TRUE(bucket.take(now));
  EXPECT_FALSE(bucket.take(now));
  EXPECT_EQ(bucket.next(now), now + kSecond);
  EXPECT_FALSE(bucket.take(now + kSecond - 1));
  now += kSecond;
  EXPECT_EQ(bucket.next(now), now);
  EXPECT_TRUE(bucket.take(now));
  EXPECT_FALSE(bucket.take(now));
  now += 100 * kSecond;
  EXPECT_TRUE(bucket.take(now));
  EXPECT_TRUE(bucket.take(now));
  EXPECT_FALSE(bucket.take(now)) << "it never holds more than its burst";
}

}  // namespace
}  // namespace twinstep::compare::testing
