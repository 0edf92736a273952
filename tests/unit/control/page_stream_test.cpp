// SPDX-License-Identifier: Apache-2.0
#include "io/page_stream.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>

#include <future>
#include <string>

#include "io/monotonic.hpp"
#include "own_network.hpp"

namespace twinstep::io {
namespace {

using testing_support::kAddressA;
using testing_support::kAddressB;

constexpr PageStreamToken kToken{77, 3};

Result<std::vector<UniqueFd>> connect(const PageStreamListener& listener, const PageStreamToken& token,
                                      std::size_t streams) {
  return connect_page_streams(kAddressA, kAddressB, listener.port(), token, streams, 5 * kSecond);
}

TEST(PageStream, ConnectsTheRightTokenInOrder) {
  const auto listener = PageStreamListener::open(kAddressB, 0).value();
  for (const std::size_t streams : {std::size_t{1}, std::size_t{3}, kPageStreamsMax}) {
    auto accepted = std::async(std::launch::async, [&] { return listener.accept(kToken, 5 * kSecond); });
    const auto primary = connect(listener, kToken, streams);
    const auto secondary = accepted.get();
    ASSERT_TRUE(primary) << primary.error().message;
    ASSERT_TRUE(secondary) << secondary.error().message;
    ASSERT_EQ(primary->size(), streams);
    ASSERT_EQ(secondary->size(), streams);
    for (std::size_t i = 0; i < streams; ++i) {
      const std::string said = "stream " + std::to_string(i);
      ASSERT_EQ(::send((*primary)[i].get(), said.data(), said.size(), 0), 8);
      std::string heard(8, '\0');
      ASSERT_EQ(::recv((*secondary)[i].get(), heard.data(), heard.size(), MSG_WAITALL), 8);
      EXPECT_EQ(heard, said);
    }
  }
}

TEST(PageStream, TurnsAwayAnOldPairingAndTakesTheNext) {
  const auto listener = PageStreamListener::open(kAddressB, 0).value();
  auto accepted = std::async(std::launch::async, [&] { return listener.accept(kToken, 5 * kSecond); });
  EXPECT_FALSE(connect(listener, {76, 3}, 2));
  EXPECT_TRUE(connect(listener, kToken, 2));
  EXPECT_TRUE(accepted.get());
}

TEST(PageStream, TurnsAwayMoreStreamsThanItTakes) {
  const auto listener = PageStreamListener::open(kAddressB, 0).value();
  auto accepted = std::async(std::launch::async, [&] { return listener.accept(kToken, 5 * kSecond); });
  EXPECT_FALSE(connect(listener, kToken, kPageStreamsMax + 1));
  EXPECT_TRUE(connect(listener, kToken, 1));
  EXPECT_TRUE(accepted.get());
}

TEST(PageStream, AListenerThatIsNotWantedAnyMoreEndsSoon) {
  const auto listener = PageStreamListener::open(kAddressB, 0).value();
  const Nanos started_ns = monotonic_ns();
  EXPECT_FALSE(listener.accept(kToken, 60 * kSecond, [] { return false; }));
  EXPECT_LT(monotonic_ns() - started_ns, 5 * kSecond);
}

TEST(PageStream, GivesUpInTime) {
  const auto listener = PageStreamListener::open(kAddressB, 0).value();
  const Nanos started_ns = monotonic_ns();
  EXPECT_FALSE(listener.accept(kToken, 100 * kMillisecond));
  EXPECT_FALSE(connect_page_streams(kAddressA, kAddressB, listener.port(), kToken, 1, 100 * kMillisecond));
  EXPECT_LT(monotonic_ns() - started_ns, 2 * kSecond);
}

TEST(PageStream, SaysThatNobodyListens) {
  const auto refused = connect_page_streams(kAddressA, kAddressB, 9, kToken, 1, kSecond);
  ASSERT_FALSE(refused);
  EXPECT_THAT(refused.error().message, testing::HasSubstr("port 9"));
}

}  // namespace
}  // namespace twinstep::io
