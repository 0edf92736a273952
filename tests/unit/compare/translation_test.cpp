// SPDX-License-Identifier: Apache-2.0
#include "core/compare/translation.hpp"

#include <gtest/gtest.h>

namespace twinstep::compare {
namespace {

constexpr std::uint32_t kEpoch = 9;

ts_flow_state state(std::uint32_t seq_delta, std::uint32_t seen = 0) {
  ts_flow_state made{};
  made.epoch = kEpoch;
  made.seq_delta = seq_delta;
  made.seen = seen;
  return made;
}

ts_translation before(std::uint32_t seq_delta, std::uint32_t ts_offset, std::uint32_t flags = 0) {
  return {.used_ns = 5, .seq_delta = seq_delta, .ts_offset = ts_offset, .vm_isn = 100, .flags = flags};
}

TEST(Translation, NoDifferenceNeedsNone) {
  EXPECT_FALSE(translation_after_failover({}, state(0), kEpoch, 7));
  EXPECT_FALSE(translation_after_failover({}, {}, kEpoch, {}));
}

TEST(Translation, FirstFailoverTakesTheEpochsDifference) {
  auto opened = state(50, TS_SEEN_OPENED);
  opened.opening_isn = 1234;
  const auto after = translation_after_failover({}, opened, kEpoch, {});
  ASSERT_TRUE(after);
  EXPECT_EQ(after->seq_delta, 50U);
  EXPECT_EQ(after->vm_isn, 1234U);
  EXPECT_EQ(after->flags, unsigned{TS_TRANSLATION_ISN});
}

TEST(Translation, LaterFailoversAdd) {
  const auto after = translation_after_failover(before(0xffffffff, 30), state(11), kEpoch, {});
  ASSERT_TRUE(after);
  EXPECT_EQ(after->seq_delta, 10U);
  EXPECT_EQ(after->ts_offset, 30U);
  EXPECT_EQ(after->used_ns, 5U);
}

TEST(Translation, DifferencesOfAnotherEpochAreVoid) {
  auto old = state(50, TS_SEEN_OPENED | TS_SEEN_OPENING);
  old.epoch = kEpoch - 1;
  EXPECT_FALSE(translation_after_failover({}, old, kEpoch, {}));
  EXPECT_EQ(translation_after_failover(before(7, 0), old, kEpoch, {})->seq_delta, 7U);
}

TEST(Translation, TsvalNeverGoesBackForTheClient) {
  auto known = state(0, TS_SEEN_TSECR);
  known.client_tsecr = 1000;
  EXPECT_EQ(translation_after_failover({}, known, kEpoch, 900)->ts_offset, 350U);
  EXPECT_EQ(translation_after_failover(before(0, 40), known, kEpoch, 900)->ts_offset, 390U);
  EXPECT_FALSE(translation_after_failover({}, known, kEpoch, 2000)) << "it is newer as it is";
  EXPECT_FALSE(translation_after_failover({}, known, kEpoch, {})) << "the SVM never spoke";
  known.client_tsecr = 0xfffffff0;
  EXPECT_EQ(translation_after_failover({}, known, kEpoch, 0xfffffff0)->ts_offset, 250U);
  EXPECT_FALSE(translation_after_failover({}, known, kEpoch, 1000)) << "wrapped";
}

TEST(Translation, AConnectionOpenedSinceIsAnother) {
  auto opened = state(3, TS_SEEN_OPENED);
  opened.opening_isn = 200;
  const auto after = translation_after_failover(before(1000, 1000, TS_TRANSLATION_ISN), opened, kEpoch, {});
  ASSERT_TRUE(after);
  EXPECT_EQ(after->seq_delta, 3U);
  EXPECT_EQ(after->ts_offset, 0U);
  EXPECT_EQ(after->vm_isn, 200U);
  opened.seq_delta = 0;
  EXPECT_FALSE(translation_after_failover(before(1000, 1000, TS_TRANSLATION_ISN), opened, kEpoch, {}));
}

TEST(Translation, ARepeatedSynAckIsOfTheSameConnection) {
  auto repeated = state(0, TS_SEEN_OPENED);
  repeated.opening_isn = 100;
  EXPECT_EQ(translation_after_failover(before(1000, 0, TS_TRANSLATION_ISN), repeated, kEpoch, {})->seq_delta, 1000U);
}

TEST(Translation, AnOpenQuestionIsKept) {
  auto opening = state(0, TS_SEEN_OPENED | TS_SEEN_OPENING | TS_SEEN_DIALLED);
  opening.opening_isn = 77;
  const auto after = translation_after_failover({}, opening, kEpoch, {});
  ASSERT_TRUE(after);
  EXPECT_EQ(after->flags, unsigned{TS_TRANSLATION_ISN | TS_TRANSLATION_OPENING | TS_TRANSLATION_DIALLED});
  EXPECT_EQ(after->vm_isn, 77U);
}

TEST(Translation, Closed) {
  EXPECT_FALSE(is_closed(before(1, 1)));
  EXPECT_FALSE(is_closed(before(1, 1, TS_TRANSLATION_VM_FIN)));
  EXPECT_FALSE(is_closed(before(1, 1, TS_TRANSLATION_CLIENT_FIN)));
  EXPECT_TRUE(is_closed(before(1, 1, TS_TRANSLATION_VM_FIN | TS_TRANSLATION_CLIENT_FIN)));
  EXPECT_TRUE(is_closed(before(1, 1, TS_TRANSLATION_RESET)));
}

}  // namespace
}  // namespace twinstep::compare
