// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include "core/compare/comparer.hpp"
#include "pair.hpp"
#include "segments.hpp"

namespace twinstep::compare::testing {
namespace {

TEST(Bounds, HeldFramesAskForACheckpoint) {
  Pair pair(test_key(), {.held_frames_max = 3});
  for (std::uint32_t i = 0; i < 2; ++i) pair.pvm(data(100 + i, "x"));
  EXPECT_FALSE(pair.diverged().has_value());
  pair.pvm(data(102, "x"));
  EXPECT_EQ(pair.diverged(), Cause::pressure);
}

TEST(Bounds, IdleFlowsMakeRoomAndWaitingOnesStay) {
  Pair pair(test_key(), {.flows_max = 3});
  Segment held = data(1, "x");
  held.peer_port = 1;
  const auto id = pair.pvm(held);
  for (std::uint16_t port = 2; port < 50; ++port) {
    Segment segment = data(1, "x");
    segment.peer_port = port;
    pair.pvm(segment);
    pair.svm(segment);
  }
  EXPECT_EQ(pair.comparer.stats().flows, 3U);
  pair.svm(held);
  EXPECT_TRUE(pair.is_out(id));
}

}  // namespace
}  // namespace twinstep::compare::testing
