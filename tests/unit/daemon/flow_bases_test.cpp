// SPDX-License-Identifier: Apache-2.0
#include "daemon/vm/flow_bases.hpp"

#include <gtest/gtest.h>

namespace twinstep::daemon {
namespace {

TEST(FlowBases, SurviveTheirTrip) {
  const std::vector<compare::FlowBase> bases = {
      {compare::FlowKey::tcp4(0x0a00004d, 0x0100004d, 0x5000, 0x1234), 0xfffffff0, 7, false},
      {compare::FlowKey::tcp4(1, 2, 3, 4), 5, 14, true}};
  const auto back = decode_flow_bases(encode_flow_bases(bases));
  ASSERT_TRUE(back.has_value());
  ASSERT_EQ(back->size(), 2U);
  for (std::size_t i = 0; i < bases.size(); ++i) {
    EXPECT_EQ((*back)[i].flow, bases[i].flow);
    EXPECT_EQ((*back)[i].seq, bases[i].seq);
    EXPECT_EQ((*back)[i].window_scale, bases[i].window_scale);
    EXPECT_EQ((*back)[i].fin_sent, bases[i].fin_sent);
  }
}

TEST(FlowBases, NoFlowsAreNoBytes) {
  EXPECT_TRUE(encode_flow_bases({}).empty());
  EXPECT_TRUE(decode_flow_bases({})->empty());
}

TEST(FlowBases, HalfAFlowIsRefused) {
  auto bytes = encode_flow_bases(std::vector<compare::FlowBase>(2));
  bytes.pop_back();
  EXPECT_FALSE(decode_flow_bases(bytes).has_value());
}

}  // namespace
}  // namespace twinstep::daemon
