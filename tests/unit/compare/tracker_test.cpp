// SPDX-License-Identifier: Apache-2.0
#include "core/compare/svm_tracker.hpp"

#include <gtest/gtest.h>

#include <string>

#include "core/compare/record.hpp"
#include "keys.hpp"
#include "packets.hpp"

namespace twinstep::compare {
namespace {

using testing::bytes_of;
using testing::encode;
using TestSegment = testing::Segment;

class TrackerTest : public ::testing::Test {
 protected:
  ts_record send(const TestSegment& segment) {
    const auto bytes = encode(segment);
    const auto record = tracker_.on_frame(parse(bytes, key_));
    EXPECT_TRUE(record.has_value());
    return *record;
  }
  ts_record data(std::uint32_t seq, std::string_view text) { return send({.seq = seq, .payload = bytes_of(text)}); }
  bool covers(const ts_record& record, std::string_view text) {
    const Digest expected = key_.append(0, key_.of(bytes_of(text)), text.size());
    return record.seq_next - record.base == text.size() && digest_of(record) == expected;
  }

  DigestKey key_ = testing::test_key();
  SvmTracker tracker_{key_, {.flows_max = 4, .segments_max = 3}};
};

TEST_F(TrackerTest, StartsAtTheFirstNumberSeenOrAtTheGivenBase) {
  EXPECT_TRUE(covers(data(1000, "abc"), "abc"));
  EXPECT_EQ(data(1003, "d").base, 1000U);
  const FlowBase base{.flow = testing::flow_of({}), .seq = 500};
  tracker_.begin_epoch(2, std::span(&base, 1));
  EXPECT_EQ(tracker_.epoch(), 2U);
  const auto late = data(503, "de");
  EXPECT_EQ(late.base, 500U);
  EXPECT_EQ(late.seq_next, 500U);
  EXPECT_TRUE(covers(data(500, "abc"), "abcde"));
}

TEST_F(TrackerTest, OverlapsAndDisorderAreCutExactly) {
  data(10, "0123");
  EXPECT_TRUE(covers(data(12, "2345"), "012345")) << "the front is known";
  data(20, "ab");
  data(18, "89abc");
  EXPECT_TRUE(covers(data(16, "678"), "0123456789abc")) << "what waits is joined with what surrounds it";
  EXPECT_TRUE(covers(data(11, "12"), "0123456789abc")) << "an old repetition changes nothing";
}

TEST_F(TrackerTest, WrapsAround) {
  data(0xfffffffe, "ab");
  data(3, "fg");
  EXPECT_TRUE(covers(data(0, "cde"), "abcdefg"));
}

TEST_F(TrackerTest, WaitingSegmentsAreBounded) {
  data(0, "a");
  for (const std::uint32_t seq : {2U, 4U, 6U, 8U}) data(seq, "x");
  data(1, "b");
  data(3, "b");
  data(5, "b");
  EXPECT_EQ(data(7, "b").seq_next, 8U) << "the fourth was dropped";
  EXPECT_EQ(data(8, "x").seq_next, 9U);
}

TEST_F(TrackerTest, SynStartsAStreamAndItsRepetitionDoesNot) {
  const TestSegment syn{.seq = 100, .flags = kSyn | kAck, .tsval = 7, .mss = 1460};
  const auto record = send(syn);
  EXPECT_EQ(record.flags, TS_RECORD_SYN | TS_RECORD_ACK | TS_RECORD_TSVAL);
  EXPECT_EQ(record.base, 100U);
  EXPECT_EQ(record.seq_next, 101U);
  EXPECT_NE(record.digest_lo, 0U);
  data(101, "abc");
  send(syn);
  EXPECT_TRUE(covers(data(104, "d"), "abcd"));
  send({.seq = 900, .flags = kSyn | kAck});
  EXPECT_TRUE(covers(data(901, "x"), "x"));
}

TEST_F(TrackerTest, SynRepeatedInTheNextEpochDoesNotStartAStream) {
  const FlowBase base{.flow = testing::flow_of({}), .seq = 101};
  tracker_.begin_epoch(2, std::span(&base, 1));
  data(101, "abc");
  send({.seq = 100, .flags = kSyn | kAck});
  EXPECT_TRUE(covers(data(104, "d"), "abcd"));
}

TEST_F(TrackerTest, FinIsStatedOnceAllInFrontOfItIsThere) {
  data(0, "a");
  auto record = send({.seq = 3, .flags = kAck | kFin, .payload = bytes_of("d")});
  EXPECT_EQ(record.flags & TS_RECORD_FIN, 0);
  EXPECT_EQ(record.seq_next, 1U);
  record = data(1, "bc");
  EXPECT_NE(record.flags & TS_RECORD_FIN, 0);
  EXPECT_EQ(record.seq_next, 5U);
  EXPECT_NE(data(5, "").flags & TS_RECORD_FIN, 0) << "later records repeat it";
}

TEST_F(TrackerTest, FinOfAnEarlierEpochIsKnown) {
  const FlowBase base{.flow = testing::flow_of({}), .seq = 51, .fin_sent = true};
  tracker_.begin_epoch(2, std::span(&base, 1));
  const auto record = data(51, "");
  EXPECT_NE(record.flags & TS_RECORD_FIN, 0);
  EXPECT_EQ(record.base, 50U);
  EXPECT_EQ(record.seq_next, 51U);
}

TEST_F(TrackerTest, RstSaysNothingOfTheStream) {
  const auto record = send({.seq = 0, .ack = 9, .flags = kRst | kAck});
  EXPECT_EQ(record.flags, TS_RECORD_RST | TS_RECORD_ACK);
  EXPECT_EQ(data(700, "a").base, 700U);
}

TEST_F(TrackerTest, OldestFlowMakesRoom) {
  for (std::uint16_t port = 1; port <= 5; ++port) send({.seq = port, .peer_port = port});
  EXPECT_EQ(tracker_.flows().size(), 4U);
  EXPECT_EQ(send({.seq = 777, .peer_port = 2}).base, 2U) << "still known";
  EXPECT_EQ(send({.seq = 777, .peer_port = 1}).base, 777U) << "forgotten";
}

TEST_F(TrackerTest, FailoverLearnsEndAndTimestamp) {
  send({.seq = 40, .payload = bytes_of("xyz"), .tsval = 99});
  const auto flows = tracker_.flows();
  ASSERT_EQ(flows.size(), 1U);
  EXPECT_EQ(flows[0].seq_next, 43U);
  EXPECT_EQ(flows[0].tsval, 99U);
}

TEST_F(TrackerTest, WholeFramesHaveTheirIdentityAndSoftOnesNoRecord) {
  const auto bytes = testing::encode_udp("hello");
  const auto record = tracker_.on_frame(parse(bytes, key_));
  ASSERT_TRUE(record.has_value());
  EXPECT_EQ(record->type, TS_RECORD_WHOLE);
  EXPECT_TRUE(WholeIdentity::of(*record) == WholeIdentity::of(parse(bytes, key_)));
  EXPECT_FALSE(tracker_.on_frame(parse(testing::encode_ethernet(0x88cc, "lldp", true), key_)).has_value());
}

}  // namespace
}  // namespace twinstep::compare
