// SPDX-License-Identifier: Apache-2.0
#include "daemon/plane/sequence_window.hpp"

#include <gtest/gtest.h>

namespace twinstep::daemon {
namespace {

TEST(SequenceWindow, TakesEachOnce) {
  SequenceWindow window;
  EXPECT_TRUE(window.take(0));
  EXPECT_FALSE(window.take(0));
  EXPECT_TRUE(window.take(1));
  EXPECT_FALSE(window.take(0));
  EXPECT_EQ(window.missing(), 0U);
}

TEST(SequenceWindow, LateOnesAreNotMissing) {
  SequenceWindow window;
  window.take(10);
  EXPECT_TRUE(window.take(13));
  EXPECT_EQ(window.missing(), 2U);
  EXPECT_TRUE(window.take(11));
  EXPECT_FALSE(window.take(11));
  EXPECT_EQ(window.missing(), 1U);
}

TEST(SequenceWindow, TooLateIsAsLost) {
  SequenceWindow window;
  window.take(0);
  window.take(64);
  EXPECT_FALSE(window.take(0)) << "it could be a double";
  EXPECT_TRUE(window.take(1));
  window.take(1000);
  EXPECT_FALSE(window.take(64));
  EXPECT_TRUE(window.take(999));
}

TEST(SequenceWindow, Wraps) {
  SequenceWindow window;
  window.take(0xffffffff);
  EXPECT_TRUE(window.take(1));
  EXPECT_TRUE(window.take(0));
  EXPECT_FALSE(window.take(0xffffffff));
  EXPECT_EQ(window.missing(), 0U);
}

}  // namespace
}  // namespace twinstep::daemon
