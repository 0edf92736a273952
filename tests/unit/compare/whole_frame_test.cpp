// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include "core/compare/comparer.hpp"
#include "pair.hpp"

namespace twinstep::compare {
namespace {

using testing::Pair;
using Ids = std::vector<FrameId>;

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

}  // namespace
}  // namespace twinstep::compare
