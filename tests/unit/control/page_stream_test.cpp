// SPDX-License-Identifier: Apache-2.0
#include "io/page_stream.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>

#include <future>

#include "io/monotonic.hpp"
#include "own_network.hpp"

namespace twinstep::io {
namespace {

using testing_support::kAddressA;
using testing_support::kAddressB;

constexpr PageStreamToken kToken{77, 3};

TEST(PageStream, ConnectsTheRightToken) {
  const auto listener = PageStreamListener::open(kAddressB, 0).value();
  auto accepted = std::async(std::launch::async, [&] { return listener.accept(kToken, 5 * kSecond); });
  const auto primary = connect_page_stream(kAddressA, kAddressB, listener.port(), kToken, 5 * kSecond);
  const auto secondary = accepted.get();
  ASSERT_TRUE(primary) << primary.error().message;
  ASSERT_TRUE(secondary) << secondary.error().message;
  ASSERT_EQ(::send(primary->get(), "hello", 5, 0), 5);
  char text[5] = {};
  ASSERT_EQ(::recv(secondary->get(), text, sizeof text, MSG_WAITALL), 5);
  EXPECT_EQ(std::string(text, 5), "hello");
}

TEST(PageStream, TurnsAwayAnOldPairingAndTakesTheNext) {
  const auto listener = PageStreamListener::open(kAddressB, 0).value();
  auto accepted = std::async(std::launch::async, [&] { return listener.accept(kToken, 5 * kSecond); });
  const auto stale = connect_page_stream(kAddressA, kAddressB, listener.port(), {76, 3}, 5 * kSecond);
  EXPECT_FALSE(stale);
  const auto right = connect_page_stream(kAddressA, kAddressB, listener.port(), kToken, 5 * kSecond);
  EXPECT_TRUE(right);
  EXPECT_TRUE(accepted.get());
}

TEST(PageStream, GivesUpInTime) {
  const auto listener = PageStreamListener::open(kAddressB, 0).value();
  const Nanos started_ns = monotonic_ns();
  EXPECT_FALSE(listener.accept(kToken, 100 * kMillisecond));
  EXPECT_FALSE(connect_page_stream(kAddressA, kAddressB, listener.port(), kToken, 100 * kMillisecond));
  EXPECT_LT(monotonic_ns() - started_ns, 2 * kSecond);
}

TEST(PageStream, SaysThatNobodyListens) {
  const auto refused = connect_page_stream(kAddressA, kAddressB, 9, kToken, kSecond);
  ASSERT_FALSE(refused);
  EXPECT_THAT(refused.error().message, testing::HasSubstr("port 9"));
}

}  // namespace
}  // namespace twinstep::io
