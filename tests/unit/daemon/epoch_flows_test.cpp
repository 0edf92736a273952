// SPDX-License-Identifier: Apache-2.0
#include "daemon/vm/epoch_flows.hpp"

#include <gtest/gtest.h>

#include <cstring>

namespace twinstep::daemon {
namespace {

EpochFlows some_flows() {
  EpochFlows flows;
  flows.bases = {{compare::FlowKey::tcp4(0x0a00004d, 0x0100004d, 0x5000, 0x1234), 0xfffffff0, 7, false},
                 {compare::FlowKey::tcp4(1, 2, 3, 4), 5, 14, true}};
  compare::FlowTranslation translation;
  translation.flow = compare::FlowKey::tcp4(5, 6, 7, 8);
  translation.numbers = {.used_ns = 1, .seq_delta = 2, .ts_offset = 3, .vm_isn = 4, .flags = TS_TRANSLATION_ISN};
  flows.translations = {translation};
  return flows;
}

TEST(EpochFlows, SurviveTheirTrip) {
  const EpochFlows flows = some_flows();
  const auto nics = decode_epoch_flows(encode({{flows}}), 1);
  ASSERT_TRUE(nics.has_value());
  const auto* back = &nics->front();
  ASSERT_EQ(back->bases.size(), 2U);
  for (std::size_t i = 0; i < flows.bases.size(); ++i) {
    EXPECT_EQ(back->bases[i].flow, flows.bases[i].flow);
    EXPECT_EQ(back->bases[i].seq, flows.bases[i].seq);
    EXPECT_EQ(back->bases[i].window_scale, flows.bases[i].window_scale);
    EXPECT_EQ(back->bases[i].fin_sent, flows.bases[i].fin_sent);
  }
  ASSERT_EQ(back->translations.size(), 1U);
  const auto& given = flows.translations[0];
  const auto& got = back->translations[0];
  EXPECT_EQ(got.flow, given.flow);
  EXPECT_EQ(std::memcmp(&got.numbers, &given.numbers, sizeof(ts_translation)), 0);
}

TEST(EpochFlows, NoFlowsAreNoFlows) {
  const auto back = decode_epoch_flows(encode({{EpochFlows{}}}), 1);
  ASSERT_TRUE(back.has_value());
  EXPECT_TRUE(back->front().bases.empty());
  EXPECT_TRUE(back->front().translations.empty());
}

TEST(EpochFlows, KeepToTheirNics) {
  auto first = some_flows();
  first.bases.pop_back();
  const std::vector<EpochFlows> nics = {first, {}, some_flows()};
  const auto back = decode_epoch_flows(encode(nics), 3);
  ASSERT_TRUE(back.has_value());
  ASSERT_EQ(back->size(), 3U);
  EXPECT_EQ((*back)[0].bases.size(), 1U);
  EXPECT_EQ((*back)[0].translations.size(), 1U);
  EXPECT_TRUE((*back)[1].bases.empty());
  ASSERT_EQ((*back)[2].bases.size(), 2U);
  EXPECT_EQ((*back)[2].bases[1].seq, 5U);
}

TEST(EpochFlows, OfAnotherNumberOfNicsAreRefused) {
  const std::vector<EpochFlows> nics = {some_flows(), some_flows()};
  EXPECT_TRUE(decode_epoch_flows(encode(nics), 2).has_value());
  EXPECT_FALSE(decode_epoch_flows(encode(nics), 1).has_value());
  EXPECT_FALSE(decode_epoch_flows(encode(nics), 3).has_value());
}

TEST(EpochFlows, WhatIsNotWholeIsRefused) {
  auto bytes = encode({{some_flows()}});
  bytes.pop_back();
  EXPECT_FALSE(decode_epoch_flows(bytes, 1).has_value());
  EXPECT_FALSE(decode_epoch_flows({}, 1).has_value());
  bytes.resize(bytes.size() + 2);
  EXPECT_FALSE(decode_epoch_flows(bytes, 1).has_value());
}

}  // namespace
}  // namespace twinstep::daemon
