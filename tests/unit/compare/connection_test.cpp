// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include "core/compare/comparer.hpp"
#include "pair.hpp"
#include "segments.hpp"

namespace twinstep::compare::testing {
namespace {

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
  EXPECT_EQ(delta->flow, flow_of({}));
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
  Segment syn = syn_ack(5);
  pair.svm(syn);
  syn.mss = 1400;
  const auto id = pair.pvm(syn);
  EXPECT_EQ(pair.diverged(), Cause::content);
  EXPECT_FALSE(pair.is_out(id));
}

TEST(Opening, ByTheGuest) {
  Pair pair;
  Segment syn{.seq = 1000, .flags = kSyn, .tsval = 3, .mss = 1460};
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

}  // namespace
}  // namespace twinstep::compare::testing
