// SPDX-License-Identifier: Apache-2.0
#include "core/compare/comparer.hpp"

#include <gtest/gtest.h>

#include "pair.hpp"

namespace twinstep::compare {
namespace {

using testing::bytes_of;
using testing::Pair;
using TestSegment = testing::Segment;
using Ids = std::vector<FrameId>;

TestSegment data(std::uint32_t seq, std::string_view text, std::uint32_t ack = 0) {
  return {.seq = seq, .ack = ack, .payload = bytes_of(text)};
}
TestSegment pure_ack(std::uint32_t seq, std::uint32_t ack, std::uint16_t window = 1000) {
  return {.seq = seq, .ack = ack, .window = window};
}
TestSegment fin(std::uint32_t seq, std::uint32_t ack = 0) {
  return {.seq = seq, .ack = ack, .flags = kAck | kFin};
}
TestSegment rst(std::uint32_t seq, std::uint32_t ack = 0) {
  return {.seq = seq, .ack = ack, .flags = kAck | kRst};
}
TestSegment syn_ack(std::uint32_t isn, std::uint32_t tsval = 100) {
  return {.seq = isn, .ack = 1, .flags = kSyn | kAck, .tsval = tsval, .mss = 1460, .window_scale = 0};
}

// Streams ------------------------------------------------------------------------------------------------------------

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
  Pair pair(testing::test_key(), {.boundaries_max = 2});
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
      TestSegment segment = data(100, "the PVM's bytes");
      segment.peer_port = port;
      const auto id = pair.pvm(segment);
      segment.payload = bytes_of("some" + std::to_string(10000 + port) + "number");
      pair.svm(segment);
      if (pair.is_out(id)) ++passed;
    }
    return passed;
  };
  EXPECT_GT(passes(DigestKey::weakened(testing::seed_bytes(3), 8)), 0U);
  EXPECT_EQ(passes(testing::test_key()), 0U);
}

// Acknowledgements ---------------------------------------------------------------------------------------------------

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

// Windows ------------------------------------------------------------------------------------------------------------

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
  EXPECT_TRUE(testing::checksums_are_right(sent[0].bytes));
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
  TestSegment segment{.seq = 100, .ack = 7, .flags = kAck | kPsh, .window = 900, .payload = bytes_of("abcde")};
  EXPECT_EQ(pair.window_of(pair.pvm(segment)), 0);
  pair.svm(pure_ack(105, 7, 100));
  ASSERT_EQ(pair.all<SendFrame>().size(), 1U) << "from zero any opening counts";
  const auto bytes = pair.all<SendFrame>()[0].bytes;
  EXPECT_TRUE(testing::checksums_are_right(bytes));
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
  TestSegment syn = syn_ack(99);
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

// Opening ------------------------------------------------------------------------------------------------------------

TEST(Opening, DifferencesAreToldBeforeTheSynGoesOut) {
  Pair pair;
  const auto syn = pair.pvm(syn_ack(1000, 50));
  EXPECT_FALSE(pair.is_out(syn));
  pair.svm(syn_ack(5000, 80));
  ASSERT_EQ(pair.effects.size(), 2U);
  const auto* delta = std::get_if<SetDelta>(&pair.effects[0]);
  ASSERT_NE(delta, nullptr);
  EXPECT_EQ(delta->seq_delta, 4000U);
  EXPECT_EQ(delta->ts_delta, 30U);
  EXPECT_EQ(delta->flow, testing::flow_of({}));
  EXPECT_EQ(pair.released(), Ids{syn});
  const auto a = pair.pvm(data(1001, "abcd", 1));
  pair.svm(data(5001, "ab", 1));
  EXPECT_FALSE(pair.is_out(a));
  pair.svm(data(5003, "cd", 1));
  EXPECT_TRUE(pair.is_out(a));
}

TEST(Opening, SvmFirstAndWrappedDifference) {
  Pair pair;
  pair.svm(syn_ack(5, 10));
  const auto syn = pair.pvm(syn_ack(0xfffffff0, 20));
  EXPECT_TRUE(pair.is_out(syn));
  EXPECT_EQ(pair.all<SetDelta>()[0].seq_delta, 21U);
  EXPECT_EQ(pair.all<SetDelta>()[0].ts_delta, static_cast<std::uint32_t>(-10));
  pair.svm(data(6, "abcdefghijklmnopqrst", 1));
  EXPECT_TRUE(pair.is_out(pair.pvm(data(0xfffffff1, "abcdefghijklmnopqrst", 1))));
}

TEST(Opening, EqualNumbersNeedNoDifference) {
  Pair pair;
  pair.svm(syn_ack(5, 10));
  EXPECT_TRUE(pair.is_out(pair.pvm(syn_ack(5, 10))));
  EXPECT_TRUE(pair.all<SetDelta>().empty());
}

TEST(Opening, OptionsThatDifferDiverge) {
  Pair pair;
  TestSegment syn = syn_ack(5);
  pair.svm(syn);
  syn.mss = 1400;
  const auto id = pair.pvm(syn);
  EXPECT_EQ(pair.diverged(), Cause::content);
  EXPECT_FALSE(pair.is_out(id));
}

TEST(Opening, ByTheGuest) {
  Pair pair;
  TestSegment syn{.seq = 1000, .flags = kSyn, .tsval = 3, .mss = 1460};
  const auto id = pair.pvm(syn);
  syn.seq = 2000;
  pair.svm(syn);
  EXPECT_EQ(pair.released(), Ids{id});
  EXPECT_EQ(pair.all<SetDelta>()[0].seq_delta, 1000U);
}

TEST(Opening, RepeatedSynIsTheSameConnection) {
  Pair pair;
  pair.svm(syn_ack(5000));
  const auto first = pair.pvm(syn_ack(1000));
  pair.svm(syn_ack(5000, 300));
  const auto again = pair.pvm(syn_ack(1000, 200));
  EXPECT_EQ(pair.released(), (Ids{first, again}));
  EXPECT_EQ(pair.all<SetDelta>().size(), 2U) << "the first one may be lost";
  EXPECT_EQ(pair.all<SetDelta>()[1].svm_isn, 5000U);
  pair.svm(data(5001, "abc", 1));
  EXPECT_TRUE(pair.is_out(pair.pvm(data(1001, "abc", 1))));
}

TEST(Opening, PortReuseStartsAnewAndWaitsForTheOldConnection) {
  Pair pair;
  pair.svm(syn_ack(5000));
  pair.pvm(syn_ack(1000));
  const auto last_of_old = pair.pvm(data(1001, "bye", 1));
  const auto new_syn = pair.pvm(syn_ack(7000));
  EXPECT_FALSE(pair.is_out(new_syn));
  pair.svm(data(5001, "bye", 1));
  EXPECT_TRUE(pair.is_out(last_of_old)) << "the SVM is still at the old connection";
  EXPECT_FALSE(pair.is_out(new_syn));
  pair.svm(syn_ack(9000));
  EXPECT_TRUE(pair.is_out(new_syn));
  EXPECT_EQ(pair.all<SetDelta>().back().seq_delta, 2000U);
  pair.svm(data(9001, "hi", 1));
  EXPECT_TRUE(pair.is_out(pair.pvm(data(7001, "hi", 1))));
}

TEST(Opening, PortReuseWithTheSvmAhead) {
  Pair pair;
  pair.svm(syn_ack(5000));
  pair.pvm(syn_ack(1000));
  pair.svm(data(5001, "bye", 1));
  pair.svm(syn_ack(9000));
  pair.svm(data(9001, "hi", 1));
  EXPECT_TRUE(pair.is_out(pair.pvm(data(1001, "bye", 1))));
  EXPECT_TRUE(pair.is_out(pair.pvm(syn_ack(7000))));
  EXPECT_TRUE(pair.is_out(pair.pvm(data(7001, "hi", 1))));
}

TEST(Opening, NewConnectionDoesNotOvertakeTheOldOne) {
  Pair pair;
  pair.svm(syn_ack(5000));
  pair.pvm(syn_ack(1000));
  pair.pvm(data(1001, "bye", 1));
  pair.svm(syn_ack(9000));
  EXPECT_FALSE(pair.is_out(pair.pvm(syn_ack(7000)))) << "the SVM never said bye";
}

TEST(Opening, EndlessReuseIsBounded) {
  Pair pair;
  for (std::uint32_t i = 0; i < 100; ++i) pair.pvm(syn_ack(1000 * i));
  EXPECT_EQ(pair.diverged(), Cause::pressure);
  EXPECT_TRUE(pair.released().empty());
  pair.checkpoint();
  EXPECT_EQ(pair.released().size(), 100U);
}

// Closing ------------------------------------------------------------------------------------------------------------

TEST(Closing, FinsAtTheSamePlaceAgree) {
  Pair pair;
  const auto a = pair.pvm({.seq = 100, .flags = kAck | kFin, .payload = bytes_of("abc")});
  pair.svm(data(100, "abc"));
  EXPECT_FALSE(pair.is_out(a)) << "the SVM's FIN is missing";
  pair.svm(fin(103));
  EXPECT_TRUE(pair.is_out(a));
  pair.svm(pure_ack(104, 9));
  EXPECT_TRUE(pair.is_out(pair.pvm(pure_ack(104, 9))));
}

TEST(Closing, FinsAtDifferentPlacesDiverge) {
  Pair early;
  early.pvm(data(100, "abcdef"));
  early.svm(data(100, "abc"));
  early.svm(fin(103));
  EXPECT_EQ(early.diverged(), Cause::content);
  Pair late;
  late.pvm(data(100, "abc"));
  late.pvm(fin(103));
  late.svm(data(100, "abcdef"));
  EXPECT_EQ(late.diverged(), Cause::content);
  EXPECT_TRUE(late.released().empty() || late.released() == Ids{1});
}

TEST(Closing, RstNeedsTheSvms) {
  Pair pair;
  pair.svm(data(100, "abc"));
  pair.pvm(data(100, "abc"));
  const auto reset = pair.pvm({.seq = 103, .flags = kRst});
  EXPECT_FALSE(pair.is_out(reset));
  pair.svm({.seq = 103, .flags = kRst});
  EXPECT_TRUE(pair.is_out(reset));
}

TEST(Closing, AfterBothFinsRstGoesOutAndTheSvmsRstAcknowledgesTheClientsFin) {
  Pair pair;
  pair.svm(fin(100, 500));
  pair.pvm(fin(100, 500));
  EXPECT_TRUE(pair.is_out(pair.pvm({.seq = 101, .flags = kRst})));
  const auto last = pair.pvm(pure_ack(101, 501));
  EXPECT_FALSE(pair.is_out(last));
  pair.svm({.seq = 101, .flags = kRst});
  EXPECT_TRUE(pair.is_out(last));
  EXPECT_FALSE(pair.is_out(pair.pvm(pure_ack(101, 502)))) << "bytes of the client that the SVM never took";
}

TEST(Closing, SvmRstBeforeTheFinsAcknowledgesNothing) {
  Pair pair;
  pair.svm(data(100, "abc"));
  pair.svm({.seq = 103, .flags = kRst});
  EXPECT_FALSE(pair.is_out(pair.pvm(data(100, "abc", 9))));
}

TEST(Closing, RefusedConnectionsMatchOneByOne) {
  Pair pair;
  const auto a = pair.pvm(rst(0, 11));
  const auto b = pair.pvm(rst(0, 22));
  pair.svm(rst(0, 11));
  EXPECT_EQ(pair.released(), Ids{a});
  pair.svm(rst(0, 22));
  EXPECT_EQ(pair.released(), (Ids{a, b}));
}

// Epochs -------------------------------------------------------------------------------------------------------------

TEST(Epochs, RecordsOfAnotherEpochAreIgnored) {
  Pair pair;
  const auto record = pair.svm_record(data(100, "abc"));
  pair.pvm(data(100, "abc"));
  pair.deliver(*record, pair.comparer.epoch() - 1);
  pair.deliver(*record, pair.comparer.epoch() + 1);
  EXPECT_TRUE(pair.released().empty());
  EXPECT_EQ(pair.comparer.stats().records_stale, 2U);
}

TEST(Epochs, HeldFramesGoOutAtTheCommitInOrderOfArrival) {
  Pair pair;
  TestSegment other = data(5, "x");
  other.peer_port = 9;
  const auto a = pair.pvm(data(100, "abc"));
  const auto b = pair.pvm_frame(testing::encode_udp("u"));
  const auto c = pair.pvm(other);
  const auto d = pair.pvm(data(103, "def"));
  pair.begin_epoch();
  const auto e = pair.pvm(data(106, "ghi"));
  EXPECT_TRUE(pair.released().empty());
  pair.commit();
  EXPECT_EQ(pair.released(), (Ids{a, b, c, d}));
  pair.svm(data(106, "ghi"));
  EXPECT_EQ(pair.released(), (Ids{a, b, c, d, e}));
  EXPECT_EQ(pair.comparer.stats().frames_released_by_commit, 4U);
  EXPECT_EQ(pair.comparer.stats().frames_held, 0U);
}

TEST(Epochs, NothingOfAnEpochGoesOutBeforeItsCommit) {
  Pair pair;
  pair.pvm(data(100, "abc", 7));
  pair.begin_epoch();
  const auto again = pair.pvm(data(100, "abc", 7));
  const auto ack = pair.pvm(pure_ack(103, 7));
  pair.svm(pure_ack(103, 7));
  pair.svm_frame(testing::encode_udp("u"));
  const auto udp = pair.pvm_frame(testing::encode_udp("u"));
  EXPECT_TRUE(pair.released().empty()) << "the old epoch's SVM could still take over";
  pair.commit();
  EXPECT_EQ(pair.released(), (Ids{1, again, ack, udp}));
}

TEST(Epochs, TwoCheckpointsWithoutACommitBetween) {
  Pair pair;
  const auto a = pair.pvm(data(100, "abc"));
  pair.begin_epoch();
  const auto b = pair.pvm(data(103, "def"));
  const auto first = pair.comparer.epoch();
  pair.begin_epoch();
  pair.comparer.commit(first, pair.effects);
  EXPECT_EQ(pair.released(), Ids{a});
  pair.commit();
  EXPECT_EQ(pair.released(), (Ids{a, b}));
}

TEST(Epochs, BaseIsTheHighestNumberSentAndDifferencesVanish) {
  Pair pair;
  pair.svm(syn_ack(5000, 7));
  pair.pvm(syn_ack(1000, 3));
  pair.pvm(data(1001, "abc", 1));
  pair.pvm(data(1010, "later", 1));
  const auto bases = pair.comparer.begin_epoch(9, pair.now);
  ASSERT_EQ(bases.size(), 1U);
  EXPECT_EQ(bases[0].seq, 1015U);
  EXPECT_FALSE(bases[0].fin_sent);
  pair.tracker.begin_epoch(9, bases);
  pair.commit();
  const auto repeated = pair.pvm(data(1004, "repeat", 1));
  EXPECT_TRUE(pair.is_out(repeated)) << "part of the checkpoint";
  const auto fresh = pair.pvm(data(1015, "abc", 1));
  pair.svm(data(1015, "abc", 1));
  EXPECT_TRUE(pair.is_out(fresh));
  EXPECT_EQ(pair.comparer.flows()[0].seq_delta, 0U);
}

TEST(Epochs, FinOfAnEarlierEpoch) {
  Pair pair;
  pair.pvm({.seq = 100, .flags = kAck | kFin, .payload = bytes_of("abc")});
  pair.checkpoint();
  EXPECT_TRUE(pair.is_out(pair.pvm(fin(103)))) << "its repetition";
  const auto last = pair.pvm(pure_ack(104, 50));
  pair.svm(pure_ack(104, 50));
  EXPECT_TRUE(pair.is_out(last));
  EXPECT_FALSE(pair.diverged().has_value());
}

TEST(Epochs, ADivergedFlowAgreesAgainAfterTheCheckpoint) {
  Pair pair;
  pair.pvm(data(100, "abc"));
  pair.svm(data(100, "abX"));
  pair.checkpoint();
  pair.svm(data(103, "d"));
  EXPECT_TRUE(pair.is_out(pair.pvm(data(103, "d"))));
  pair.pvm(data(104, "e"));
  pair.svm(data(104, "X"));
  EXPECT_EQ(pair.all<Diverged>().size(), 2U) << "once in each epoch";
}

TEST(Epochs, ResetConnectionsAreForgotten) {
  Pair pair;
  pair.pvm(data(100, "abc"));
  pair.pvm({.seq = 103, .flags = kRst});
  EXPECT_TRUE(pair.comparer.begin_epoch(9, pair.now).empty());
}

TEST(Epochs, ReleaseAllAndDiscard) {
  Pair solo;
  const auto a = solo.pvm(data(100, "abc"));
  solo.begin_epoch();
  const auto b = solo.pvm_frame(testing::encode_udp("u"));
  const auto c = solo.pvm(data(103, "def"));
  solo.comparer.release_all(solo.effects);
  EXPECT_EQ(solo.released(), (Ids{a, b, c}));
  EXPECT_TRUE(solo.comparer.begin_epoch(9, solo.now).empty()) << "solo output isn't seen: what was known is stale";

  Pair lost;
  lost.pvm(data(100, "abc"));
  lost.begin_epoch();
  lost.pvm_frame(testing::encode_udp("u"));
  EXPECT_EQ(lost.comparer.discard(), (Ids{1, 2}));
  lost.commit();
  EXPECT_TRUE(lost.released().empty());
  EXPECT_EQ(lost.comparer.stats().frames_held, 0U);
  EXPECT_EQ(lost.comparer.stats().frames_dropped, 2U);
}

// Whole frames -------------------------------------------------------------------------------------------------------

TEST(WholeFrames, EachMeetsOneTwinInAnyOrder) {
  Pair pair;
  const auto a = pair.pvm_frame(testing::encode_udp("a"));
  const auto b = pair.pvm_frame(testing::encode_udp("b"));
  const auto again = pair.pvm_frame(testing::encode_udp("a"));
  pair.svm_frame(testing::encode_udp("b"));
  pair.svm_frame(testing::encode_udp("a"));
  EXPECT_EQ(pair.released(), (Ids{b, a}));
  pair.svm_frame(testing::encode_udp("a"));
  pair.svm_frame(testing::encode_udp("a"));
  EXPECT_EQ(pair.released(), (Ids{b, a, again}));
  EXPECT_TRUE(pair.is_out(pair.pvm_frame(testing::encode_udp("a")))) << "one twin was left";
  EXPECT_FALSE(pair.is_out(pair.pvm_frame(testing::encode_udp("a"))));
}

TEST(WholeFrames, IdentityIsMoreThanTheBytes) {
  Pair pair;
  auto bytes = testing::encode_udp("a");
  pair.svm_frame(bytes);
  bytes[14 + 19] = std::byte{77};  // another destination
  EXPECT_FALSE(pair.is_out(pair.pvm_frame(bytes)));
}

TEST(WholeFrames, SoftClassGoesOutAtOnce) {
  Pair pair;
  EXPECT_TRUE(pair.is_out(pair.pvm_frame(testing::encode_ethernet(0x88cc, "lldp", true))));
}

TEST(WholeFrames, OfTheSvmsFloodTheLatestAreKept) {
  Pair pair(testing::test_key(), {.flows_max = 10});
  for (int i = 0; i < 11; ++i) pair.svm_frame(testing::encode_udp(std::to_string(i)));
  EXPECT_FALSE(pair.diverged());
  const FrameId forgotten = pair.pvm_frame(testing::encode_udp("0"));
  const FrameId kept = pair.pvm_frame(testing::encode_udp("1"));
  EXPECT_EQ(pair.released(), std::vector<FrameId>{kept});
  EXPECT_FALSE(pair.is_out(forgotten));
}

// Bounds -------------------------------------------------------------------------------------------------------------

TEST(Bounds, HeldFramesAskForACheckpoint) {
  Pair pair(testing::test_key(), {.held_frames_max = 3});
  for (std::uint32_t i = 0; i < 2; ++i) pair.pvm(data(100 + i, "x"));
  EXPECT_FALSE(pair.diverged().has_value());
  pair.pvm(data(102, "x"));
  EXPECT_EQ(pair.diverged(), Cause::pressure);
}

TEST(Bounds, IdleFlowsMakeRoomAndWaitingOnesStay) {
  Pair pair(testing::test_key(), {.flows_max = 3});
  TestSegment held = data(1, "x");
  held.peer_port = 1;
  const auto id = pair.pvm(held);
  for (std::uint16_t port = 2; port < 50; ++port) {
    TestSegment segment = data(1, "x");
    segment.peer_port = port;
    pair.pvm(segment);
    pair.svm(segment);
  }
  EXPECT_EQ(pair.comparer.stats().flows, 3U);
  pair.svm(held);
  EXPECT_TRUE(pair.is_out(id));
}

}  // namespace
}  // namespace twinstep::compare
