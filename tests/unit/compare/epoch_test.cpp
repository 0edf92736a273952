// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include "core/compare/comparer.hpp"
#include "pair.hpp"
#include "segments.hpp"

namespace twinstep::compare::testing {
namespace {

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
  Segment other = data(5, "x");
  other.peer_port = 9;
  const auto a = pair.pvm(data(100, "abc"));
  const auto b = pair.pvm_frame(encode_udp("u"));
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
  pair.svm_frame(encode_udp("u"));
  const auto udp = pair.pvm_frame(encode_udp("u"));
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

TEST(Epochs, ClosedConnectionsAreForgottenSoon) {
  Pair pair;
  pair.pvm(fin(100));
  pair.svm(fin(100));
  pair.now += 4 * kSecond;
  EXPECT_EQ(pair.comparer.begin_epoch(2, pair.now).size(), 1U) << "its FIN may have to be repeated";
  pair.now += 2 * kSecond;
  EXPECT_TRUE(pair.comparer.begin_epoch(3, pair.now).empty());
}

TEST(Epochs, ReleaseAllAndDiscard) {
  Pair solo;
  const auto a = solo.pvm(data(100, "abc"));
  solo.begin_epoch();
  const auto b = solo.pvm_frame(encode_udp("u"));
  const auto c = solo.pvm(data(103, "def"));
  solo.comparer.release_all(solo.effects);
  EXPECT_EQ(solo.released(), (Ids{a, b, c}));
  EXPECT_TRUE(solo.comparer.begin_epoch(9, solo.now).empty()) << "solo output isn't seen: what was known is stale";

  Pair lost;
  lost.pvm(data(100, "abc"));
  lost.begin_epoch();
  lost.pvm_frame(encode_udp("u"));
  EXPECT_EQ(lost.comparer.discard(), (Ids{1, 2}));
  lost.commit();
  EXPECT_TRUE(lost.released().empty());
  EXPECT_EQ(lost.comparer.stats().frames_held, 0U);
  EXPECT_EQ(lost.comparer.stats().frames_dropped, 2U);
}

}  // namespace
}  // namespace twinstep::compare::testing
