// SPDX-License-Identifier: Apache-2.0
#include "io/heartbeat.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>

#include <chrono>
#include <thread>

#include "io/socket.hpp"
#include "own_network.hpp"
#include "waiting.hpp"

namespace twinstep::io {
namespace {

using testing_support::kAddressA;
using testing_support::kAddressB;
using testing_support::kPort;
using testing_support::Reports;

HeartbeatConfig config_a() {
  return {"a", "b", kAddressA, kAddressB, kPort, 5 * kMillisecond};
}
HeartbeatConfig config_b() {
  return {"b", "a", kAddressB, kAddressA, kPort, 5 * kMillisecond};
}

TEST(Heartbeat, IsHeardInOrderByThePeer) {
  Reports<wire::Heartbeat> at_a;
  Reports<wire::Heartbeat> at_b;
  const auto a = Heartbeat::create(config_a(), [&](const wire::Heartbeat& h) { at_a.add(h); });
  const auto b = Heartbeat::create(config_b(), [&](const wire::Heartbeat& h) { at_b.add(h); });
  ASSERT_TRUE(a && b);
  ASSERT_TRUE(at_a.wait_for(20) && at_b.wait_for(20));
  const auto heard = at_a.items();
  for (std::size_t i = 1; i < heard.size(); ++i) {
    EXPECT_EQ(heard[i].host, "b");
    EXPECT_GT(heard[i].sequence, heard[i - 1].sequence);
    EXPECT_GT(heard[i].sent_at_ns, heard[i - 1].sent_at_ns);
  }
}

TEST(Heartbeat, KeepsItsInterval) {
  Reports<wire::Heartbeat> at_b;
  auto slow = config_a();
  slow.interval_ns = 50 * kMillisecond;
  const auto a = Heartbeat::create(slow, [](const wire::Heartbeat&) {});
  const auto b = Heartbeat::create(config_b(), [&](const wire::Heartbeat& h) { at_b.add(h); });
  ASSERT_TRUE(at_b.wait_for(5));
  const auto heard = at_b.items();
  const Nanos mean_ns = (heard.back().sent_at_ns - heard.front().sent_at_ns) /
                        static_cast<Nanos>(heard.back().sequence - heard.front().sequence);
  EXPECT_GE(mean_ns, 45 * kMillisecond);
}

TEST(Heartbeat, IgnoresOtherSendersAndOtherNames) {
  Reports<wire::Heartbeat> at_b;
  auto stranger = config_a();
  stranger.self = "x";
  const auto x = Heartbeat::create(stranger, [](const wire::Heartbeat&) {});
  const auto b = Heartbeat::create(config_b(), [&](const wire::Heartbeat& h) { at_b.add(h); });
  ASSERT_TRUE(x && b);
  const auto elsewhere = bound_socket(SocketAddress::parse("127.0.0.3", kPort).value(), SOCK_DGRAM).value();
  const auto to_b = SocketAddress::parse(kAddressB, kPort).value();
  const auto forged = wire::encode(wire::Heartbeat{"a", 1, 1});
  ASSERT_GT(::sendto(elsewhere.get(), forged.data(), forged.size(), 0, to_b.get(), to_b.size()), 0);
  std::this_thread::sleep_for(std::chrono::milliseconds(100));
  EXPECT_TRUE(at_b.items().empty());
}

TEST(Heartbeat, GoesOnWhenThePeersPortIsClosedForAWhile) {
  Reports<wire::Heartbeat> at_a;
  const auto a = Heartbeat::create(config_a(), [&](const wire::Heartbeat& h) { at_a.add(h); });
  std::this_thread::sleep_for(std::chrono::milliseconds(50));
  const auto b = Heartbeat::create(config_b(), [](const wire::Heartbeat&) {});
  EXPECT_TRUE(at_a.wait_for(3));
}

}  // namespace
}  // namespace twinstep::io
