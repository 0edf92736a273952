// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include "core/compare/comparer.hpp"
#include "pair.hpp"
#include "segments.hpp"

namespace twinstep::compare::testing {
namespace {

TEST(Streams, FrameWaitsForTheSvmsBytes) {
  Pair pair;
  const auto a = pair.pvm(data(100, "hello"));
  EXPECT_FALSE(pair.is_out(a));
  pair.svm(data(100, "hello"));
  EXPECT_TRUE(pair.is_out(a));
  EXPECT_EQ(pair.comparer.stats().frames_released_on_arrival, 0U);
}

TEST(Streams, SvmAheadLetsTheFrameOutOnArrival) {
  Pair pair;
  pair.svm(data(100, "hello"));
  EXPECT_TRUE(pair.is_out(pair.pvm(data(100, "hello"))));
  EXPECT_EQ(pair.comparer.stats().frames_released_on_arrival, 1U);
  EXPECT_EQ(pair.comparer.stats().bytes_matched, 5U);
}

TEST(Streams, BoundariesInsideFramesAreCheckedByThePrefix) {
  Pair pair;
  const auto a = pair.pvm(data(100, "abcdef"));
  const auto b = pair.pvm(data(106, "ghijkl"));
  pair.svm(data(100, "abcdefgh"));
  EXPECT_EQ(pair.released(), Ids{a});
  EXPECT_EQ(pair.comparer.stats().bytes_matched, 8U);
  pair.svm(data(108, "ijkl"));
  EXPECT_EQ(pair.released(), (Ids{a, b}));
}

TEST(Streams, WrongByteInThePrefixDiverges) {
  Pair pair;
  pair.pvm(data(100, "abcdef"));
  pair.svm(data(100, "abX"));
  EXPECT_EQ(pair.diverged(), Cause::content);
  pair.svm(data(103, "def"));
  EXPECT_TRUE(pair.released().empty());
  EXPECT_EQ(pair.all<Diverged>().size(), 1U) << "once per epoch";
}

TEST(Streams, LostRecordHealsWithTheNext) {
  Pair pair;
  const auto a = pair.pvm(data(100, "abc"));
  const auto b = pair.pvm(data(103, "def"));
  pair.svm_record(data(100, "abc"));
  EXPECT_TRUE(pair.released().empty());
  pair.svm(data(103, "def"));
  EXPECT_EQ(pair.released(), (Ids{a, b}));
}

TEST(Streams, ReorderedRecordsDoNotHarm) {
  Pair pair;
  const auto first = pair.svm_record(data(100, "abc", 5));
  const auto second = pair.svm_record(data(103, "def", 9));
  pair.deliver(*second);
  pair.deliver(*first);
  EXPECT_TRUE(pair.is_out(pair.pvm(data(100, "abcdef", 9))));
}

TEST(Streams, WrapAround) {
  Pair pair;
  const auto a = pair.pvm(data(0xfffffffd, "abc"));
  const auto b = pair.pvm(data(0, "def"));
  pair.svm(data(0xfffffffd, "abcd"));
  EXPECT_EQ(pair.released(), Ids{a});
  pair.svm(data(1, "ef"));
  EXPECT_EQ(pair.released(), (Ids{a, b}));
}

TEST(Streams, DisorderOfThePvmKeepsItsOrderOfArrival) {
  Pair pair;
  pair.checkpoint();
  const auto base = pair.pvm(data(100, "ab"));
  const auto late = pair.pvm(data(105, "fg"));
  const auto gap = pair.pvm(data(102, "cde"));
  pair.svm(data(100, "abcdefg"));
  EXPECT_EQ(pair.released(), (Ids{base, late, gap}));
}

TEST(Streams, RepetitionOfReleasedBytesPassesAtOnceEvenWhileOthersWait) {
  Pair pair;
  pair.svm(data(100, "abcdef"));
  const auto first = pair.pvm(data(100, "abcdef"));
  const auto waiting = pair.pvm(data(106, "ghi"));
  const auto again = pair.pvm(data(102, "cdef"));
  EXPECT_EQ(pair.released(), (Ids{first, again}));
  const auto not_acked = pair.pvm(data(102, "cdef", 50));
  EXPECT_FALSE(pair.is_out(not_acked)) << "the ack rule holds for repetitions too";
  const auto beyond = pair.pvm(data(103, "defgh"));
  EXPECT_FALSE(pair.is_out(beyond)) << "it has new bytes";
  pair.svm(data(106, "ghi", 50));
  EXPECT_EQ(pair.released(), (Ids{first, again, waiting, not_acked, beyond}));
}

TEST(Streams, BoundariesAreBounded) {
  Pair pair(test_key(), {.boundaries_max = 2});
  pair.pvm(pure_ack(100, 0));
  for (std::uint32_t i = 0; i < 10; ++i) pair.svm(data(100 + i, "x"));
  const auto a = pair.pvm(data(100, "xxxxx"));
  EXPECT_FALSE(pair.is_out(a)) << "its boundaries were dropped";
  pair.pvm(data(105, "xxxx"));
  EXPECT_TRUE(pair.is_out(a)) << "a later one speaks for them";
}

TEST(Streams, BytesBeforeAGuessedBaseDiverge) {
  Pair pair;
  pair.svm(data(100, "abc"));
  pair.pvm(data(100, "abc"));
  const auto older = pair.pvm(data(90, "0123456789"));
  EXPECT_EQ(pair.diverged(), Cause::base);
  EXPECT_FALSE(pair.is_out(older));
}

TEST(Streams, BasesThatDifferDiverge) {
  Pair pair;
  pair.pvm(data(100, "abc"));
  pair.svm(data(103, "def"));
  EXPECT_EQ(pair.diverged(), Cause::base);
}

TEST(Streams, WeakKeyLetsAWrongByteThroughAndTheRealOneDoesNot) {
  const auto passes = [](const DigestKey& key) {
    unsigned passed = 0;
    Pair pair(key);
    for (std::uint16_t port = 1; port <= 3000; ++port) {
      Segment segment = data(100, "the PVM's bytes");
      segment.peer_port = port;
      const auto id = pair.pvm(segment);
      segment.payload = bytes_of("some" + std::to_string(10000 + port) + "number");
      pair.svm(segment);
      if (pair.is_out(id)) ++passed;
    }
    return passed;
  };
  EXPECT_GT(passes(DigestKey::weakened(seed_bytes(3), 8)), 0U);
  EXPECT_EQ(passes(test_key()), 0U);
}

TEST(Acks, NothingIsAcknowledgedThatTheSvmHasNot) {
  Pair pair;
  const auto a = pair.pvm(data(100, "abc", 5000));
  pair.svm(data(100, "abc", 4000));
  EXPECT_FALSE(pair.is_out(a));
  pair.svm(pure_ack(103, 5000));
  EXPECT_TRUE(pair.is_out(a));
}

TEST(Acks, PureAckWaitsForTheRuleAndItsPlaceInTheFlow) {
  Pair pair;
  pair.svm(pure_ack(100, 10));
  const auto a = pair.pvm(pure_ack(100, 10));
  EXPECT_TRUE(pair.is_out(a));
  const auto b = pair.pvm(data(100, "abc", 10));
  const auto c = pair.pvm(pure_ack(103, 10));
  EXPECT_FALSE(pair.is_out(c)) << "not ahead of the data";
  pair.svm(data(100, "abc", 10));
  EXPECT_EQ(pair.released(), (Ids{a, b, c}));
}

TEST(Acks, WrapAround) {
  Pair pair;
  pair.svm(pure_ack(100, 0xfffffff0));
  const auto a = pair.pvm(pure_ack(100, 16));
  EXPECT_FALSE(pair.is_out(a));
  pair.svm(pure_ack(100, 16));
  EXPECT_TRUE(pair.is_out(a));
}

TEST(Acks, OldRecordDoesNotTakeAnAckBack) {
  Pair pair;
  pair.svm(pure_ack(100, 20));
  pair.svm(pure_ack(100, 10));
  EXPECT_TRUE(pair.is_out(pair.pvm(pure_ack(100, 20))));
}

TEST(Windows, SmallerRightEdgeGoesOut) {
  Pair pair;
  pair.svm(pure_ack(100, 1000, 500));
  EXPECT_EQ(pair.window_of(pair.pvm(pure_ack(100, 1000, 800))), 500);
  EXPECT_EQ(pair.window_of(pair.pvm(pure_ack(100, 1000, 400))), std::nullopt);
  pair.svm(pure_ack(100, 1200, 500));
  EXPECT_EQ(pair.window_of(pair.pvm(pure_ack(100, 1100, 800))), 600) << "an edge, not a width";
}

TEST(Windows, NeverBelowZero) {
  Pair pair;
  pair.svm(pure_ack(100, 1000, 0));
  EXPECT_EQ(pair.window_of(pair.pvm(pure_ack(100, 1000, 800))), 0);
}

TEST(Windows, UpdateFollowsWhenTheSvmOpensByEnough) {
  Pair pair;
  pair.svm(pure_ack(100, 1000, 500));
  pair.pvm({.seq = 100, .ack = 1000, .window = 20000, .tsval = 5});
  pair.svm(pure_ack(100, 1000, 600));
  EXPECT_TRUE(pair.all<SendFrame>().empty()) << "not for every byte";
  pair.svm(pure_ack(100, 1000, 10000));
  const auto sent = pair.all<SendFrame>();
  ASSERT_EQ(sent.size(), 1U);
  EXPECT_TRUE(checksums_are_right(sent[0].bytes));
  const Frame update = parse(sent[0].bytes, pair.key);
  ASSERT_EQ(update.cls, TS_CLASS_TCP);
  EXPECT_EQ(update.tcp.window, 10000);
  EXPECT_EQ(update.tcp.ack, 1000U);
  EXPECT_EQ(update.tcp.seq, 100U);
  EXPECT_EQ(update.tcp.tsval, 5U);
  EXPECT_EQ(update.tcp.flags, kAck);
  pair.svm(pure_ack(100, 1000, 60000));
  ASSERT_EQ(pair.all<SendFrame>().size(), 2U);
  EXPECT_EQ(parse(pair.all<SendFrame>()[1].bytes, pair.key).tcp.window, 20000) << "the PVM's edge is the other limit";
  pair.svm(pure_ack(100, 1000, 65000));
  EXPECT_EQ(pair.all<SendFrame>().size(), 2U);
}

TEST(Windows, UpdateOfALimitedDataFrameHasNoPayloadAndGoesOnBehindIt) {
  Pair pair;
  pair.svm({.seq = 100, .ack = 7, .window = 0, .payload = bytes_of("abcde")});
  Segment segment{.seq = 100, .ack = 7, .flags = kAck | kPsh, .window = 900, .payload = bytes_of("abcde")};
  EXPECT_EQ(pair.window_of(pair.pvm(segment)), 0);
  pair.svm(pure_ack(105, 7, 100));
  ASSERT_EQ(pair.all<SendFrame>().size(), 1U) << "from zero any opening counts";
  const auto bytes = pair.all<SendFrame>()[0].bytes;
  EXPECT_TRUE(checksums_are_right(bytes));
  const Frame update = parse(bytes, pair.key);
  EXPECT_TRUE(update.payload.empty());
  EXPECT_EQ(bytes.size(), 54U);
  EXPECT_EQ(update.tcp.seq, 105U);
  EXPECT_EQ(update.tcp.window, 100);
}

TEST(Windows, NoUpdateWhileFramesWait) {
  Pair pair;
  pair.svm(pure_ack(100, 10, 0));
  pair.pvm(pure_ack(100, 10, 900));
  pair.pvm(data(100, "abc", 10));
  pair.svm(pure_ack(100, 10, 900));
  EXPECT_TRUE(pair.all<SendFrame>().empty());
}

TEST(Windows, ScaleOfTheSynCounts) {
  Pair pair;
  Segment syn = syn_ack(99);
  syn.window_scale = 7;
  syn.window = 64000;
  pair.svm(syn);
  EXPECT_EQ(pair.window_of(pair.pvm(syn)), std::nullopt) << "a SYN's window is left alone";
  pair.svm(pure_ack(100, 1, 10));
  EXPECT_EQ(pair.window_of(pair.pvm(pure_ack(100, 1, 20))), 10);
  pair.svm(pure_ack(100, 1281, 10));
  EXPECT_EQ(pair.window_of(pair.pvm(pure_ack(100, 1, 30))), 20);
}

TEST(Windows, LimitThatACheckpointLiftsIsTold) {
  Pair pair;
  pair.svm(pure_ack(100, 10, 0));
  pair.pvm(pure_ack(100, 10, 900));
  pair.begin_epoch();
  EXPECT_TRUE(pair.all<SendFrame>().empty());
  pair.commit();
  ASSERT_EQ(pair.all<SendFrame>().size(), 1U) << "or the client waits with a zero window for ever";
  EXPECT_EQ(parse(pair.all<SendFrame>()[0].bytes, pair.key).tcp.window, 900);
}

TEST(Windows, FramesOfAClosedEpochTellTheWindowThemselves) {
  Pair pair;
  pair.svm(pure_ack(100, 10, 0));
  pair.pvm(pure_ack(100, 10, 900));
  pair.pvm(data(100, "abc", 10));
  pair.checkpoint();
  EXPECT_TRUE(pair.all<SendFrame>().empty());
}

}  // namespace
}  // namespace twinstep::compare::testing
