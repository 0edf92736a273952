// SPDX-License-Identifier: Apache-2.0
#include "io/control_link.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>

#include <chrono>
#include <thread>

#include "io/socket.hpp"
#include "own_network.hpp"
#include "waiting.hpp"

namespace twinstep::io {
namespace {

using session::Message;
using session::MessageType;
using testing::HasSubstr;
using testing_support::kAddressA;
using testing_support::kAddressB;
using testing_support::kPort;
using testing_support::Reports;

/// One daemon's end, with everything its handlers were told.
struct End {
  Reports<wire::Hello> connected;
  Reports<wire::Envelope> messages;
  Reports<std::string> disconnected;
  Reports<std::string> refused;
  std::unique_ptr<ControlLink> link;

  void start(ControlLinkConfig config) {
    auto made = ControlLink::create(std::move(config), {[this](const wire::Hello& hello) { connected.add(hello); },
                                                        [this](wire::Envelope&& e) { messages.add(std::move(e)); },
                                                        [this](const std::string& why) { disconnected.add(why); },
                                                        [this](const std::string& why) { refused.add(why); }});
    ASSERT_TRUE(made) << made.error().message;
    link = std::move(*made);
  }
};

ControlLinkConfig config_a() {
  ControlLinkConfig config;
  config.self = "a";
  config.peer = "b";
  config.address = kAddressA;
  config.peer_address = kAddressB;
  config.port = kPort;
  config.software_version = "1.2.3";
  return config;
}

ControlLinkConfig config_b() {
  auto config = config_a();
  std::swap(config.self, config.peer);
  std::swap(config.address, config.peer_address);
  return config;
}

Message numbered(std::uint32_t epoch) {
  return {MessageType::committed, 1, 2, epoch, "why"};
}

TEST(ControlLink, ConnectsWhicheverSideStartsFirst) {
  for (const bool a_first : {true, false}) {
    End a;
    End b;
    a_first ? a.start(config_a()) : b.start(config_b());
    std::this_thread::sleep_for(std::chrono::milliseconds(150));
    a_first ? b.start(config_b()) : a.start(config_a());
    ASSERT_TRUE(a.connected.wait_for(1) && b.connected.wait_for(1));
    EXPECT_EQ(a.connected.items().front().host, "b");
    EXPECT_EQ(b.connected.items().front().host, "a");
    EXPECT_EQ(b.connected.items().front().software_version, "1.2.3");
  }
}

TEST(ControlLink, CarriesMessagesBothWaysInOrder) {
  constexpr std::uint32_t kMessages = 2000;
  End a;
  End b;
  a.start(config_a());
  b.start(config_b());
  ASSERT_TRUE(a.connected.wait_for(1) && b.connected.wait_for(1));
  const std::vector<std::byte> body(3000, std::byte{7});
  for (std::uint32_t i = 0; i < kMessages; ++i) {
    ASSERT_TRUE(a.link->send(5, numbered(i), body));
    ASSERT_TRUE(b.link->send(6, numbered(i), {}));
  }
  ASSERT_TRUE(a.messages.wait_for(kMessages) && b.messages.wait_for(kMessages));
  const auto at_b = b.messages.items();
  const auto at_a = a.messages.items();
  for (std::uint32_t i = 0; i < kMessages; ++i) {
    EXPECT_EQ(at_b[i], (wire::Envelope{5, numbered(i), body}));
    EXPECT_EQ(at_a[i], (wire::Envelope{6, numbered(i), {}}));
  }
}

TEST(ControlLink, CarriesTheLargestBody) {
  End a;
  End b;
  a.start(config_a());
  b.start(config_b());
  ASSERT_TRUE(a.connected.wait_for(1));
  std::vector<std::byte> body(wire::kBodyBytesMax, std::byte{1});
  body.back() = std::byte{2};
  ASSERT_TRUE(a.link->send(1, numbered(1), body));
  ASSERT_TRUE(b.messages.wait_for(1));
  EXPECT_EQ(b.messages.items().front().body, body);
}

TEST(ControlLink, DoesNotSendWithoutAPeer) {
  End a;
  a.start(config_a());
  EXPECT_FALSE(a.link->connected());
  EXPECT_FALSE(a.link->send(1, numbered(1), {}));
}

TEST(ControlLink, SaysFarewellAndTellsTheOtherAndConnectsAnew) {
  End a;
  End b;
  a.start(config_a());
  b.start(config_b());
  ASSERT_TRUE(a.connected.wait_for(1) && b.connected.wait_for(1));
  ASSERT_TRUE(b.link->send(1, numbered(9), {}));
  b.link.reset();
  ASSERT_TRUE(a.messages.wait_for(1)) << "the last message before the end is not lost";
  ASSERT_TRUE(a.disconnected.wait_for(1));
  EXPECT_FALSE(a.link->connected());
  b.start(config_b());
  ASSERT_TRUE(a.connected.wait_for(2) && b.connected.wait_for(2));
  EXPECT_TRUE(a.link->send(1, numbered(10), {}));
  EXPECT_TRUE(b.messages.wait_for(1));
}

TEST(ControlLink, RefusesAHostOfAnotherName) {
  End a;
  End b;
  a.start(config_a());
  auto config = config_b();
  config.self = "c";
  b.start(config);
  ASSERT_TRUE(a.refused.wait_for(1));
  EXPECT_THAT(a.refused.items().front(), HasSubstr("'c'"));
  std::this_thread::sleep_for(std::chrono::milliseconds(400));
  EXPECT_EQ(a.refused.items().size(), 1U) << "the same reason is told once";
  EXPECT_TRUE(a.connected.items().empty());
}

TEST(ControlLink, BoundsItsQueue) {
  End a;
  End b;
  auto config = config_a();
  config.queue_bytes_max = 10000;
  a.start(config);
  b.start(config_b());
  ASSERT_TRUE(a.connected.wait_for(1));
  EXPECT_FALSE(a.link->send(1, numbered(1), std::vector<std::byte>(10000)));
  EXPECT_TRUE(a.link->send(1, numbered(2), std::vector<std::byte>(5000)));
  ASSERT_TRUE(b.messages.wait_for(1));
  EXPECT_EQ(b.messages.items().front().message.epoch, 2U);
}

TEST(ControlLink, RefusesEqualNamesAndForeignAddresses) {
  auto same = config_a();
  same.peer = "a";
  EXPECT_FALSE(ControlLink::create(same, {}));
  auto foreign = config_a();
  foreign.address = "192.0.2.1";
  const auto refused = ControlLink::create(foreign, {});
  ASSERT_FALSE(refused);
  EXPECT_THAT(refused.error().message, HasSubstr("192.0.2.1"));
}

/// A hand-made daemon at address A, connected to the one under test at B.
UniqueFd dial_b() {
  const auto local = SocketAddress::parse(kAddressA, 0).value();
  const auto remote = SocketAddress::parse(kAddressB, kPort).value();
  auto socket = start_connect_tcp(local, remote).value();
  pollfd fd{socket.get(), POLLOUT, 0};
  ::poll(&fd, 1, 1000);
  return socket;
}

void say(const UniqueFd& socket, const std::vector<std::byte>& bytes) {
  ASSERT_EQ(::send(socket.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL), static_cast<ssize_t>(bytes.size()));
}

bool closed_within(const UniqueFd& socket, int timeout_ms) {
  std::array<char, 4096> sink{};
  for (;;) {
    pollfd fd{socket.get(), POLLIN, 0};
    if (::poll(&fd, 1, timeout_ms) <= 0) return false;
    if (::recv(socket.get(), sink.data(), sink.size(), MSG_DONTWAIT) <= 0) return true;
  }
}

TEST(ControlLink, NamesAPeerOfAnotherVersion) {
  End b;
  b.start(config_b());
  auto other_wire = wire::encode(wire::Hello{wire::kWireVersion + 1, TS_ABI_VERSION, "a", "9.9.9"});
  const auto first = dial_b();
  say(first, other_wire);
  ASSERT_TRUE(b.refused.wait_for(1));
  EXPECT_THAT(b.refused.items().back(), HasSubstr("wire version " + std::to_string(wire::kWireVersion + 1)));
  EXPECT_TRUE(closed_within(first, 1000));
  const auto second = dial_b();
  say(second, wire::encode(wire::Hello{wire::kWireVersion, TS_ABI_VERSION + 1, "a", "9.9.9"}));
  ASSERT_TRUE(b.refused.wait_for(2));
  EXPECT_THAT(b.refused.items().back(), HasSubstr("Twinstep 9.9.9"));
  EXPECT_TRUE(b.connected.items().empty());
}

TEST(ControlLink, EndsAConnectionThatSaysNothing) {
  End b;
  auto config = config_b();
  config.greeting_timeout_ns = 100 * kMillisecond;
  b.start(config);
  const auto socket = dial_b();
  EXPECT_TRUE(closed_within(socket, 2000));
}

TEST(ControlLink, EndsAConnectionThatSendsDamage) {
  End b;
  b.start(config_b());
  const auto socket = dial_b();
  say(socket, wire::encode(wire::Hello{wire::kWireVersion, TS_ABI_VERSION, "a", "0.1.0"}));
  ASSERT_TRUE(b.connected.wait_for(1));
  auto damaged = wire::encode(1, numbered(1), {}).value();
  damaged.back() ^= std::byte{1};
  say(socket, damaged);
  ASSERT_TRUE(b.disconnected.wait_for(1));
  EXPECT_THAT(b.disconnected.items().front(), HasSubstr("damaged body"));
  EXPECT_TRUE(b.messages.items().empty());
}

TEST(ControlLink, TakesARestartedPeerForTheOldOne) {
  End b;
  b.start(config_b());
  const auto hello = wire::encode(wire::Hello{wire::kWireVersion, TS_ABI_VERSION, "a", "0.1.0"});
  const auto old = dial_b();
  say(old, hello);
  ASSERT_TRUE(b.connected.wait_for(1));
  const auto anew = dial_b();
  say(anew, hello);
  ASSERT_TRUE(b.connected.wait_for(2));
  EXPECT_THAT(b.disconnected.items(), testing::ElementsAre("the peer's daemon connected anew"));
  EXPECT_TRUE(closed_within(old, 1000));
}

}  // namespace
}  // namespace twinstep::io
