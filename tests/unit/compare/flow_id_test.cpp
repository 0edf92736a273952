// SPDX-License-Identifier: Apache-2.0
// What names a flow, here and on the link.
#include <gtest/gtest.h>

#include <array>
#include <set>

#include "bpf/abi/twinstep_packet.h"
#include "core/compare/siphash.hpp"
#include "keys.hpp"
#include "packets.hpp"
#include "pair.hpp"

namespace twinstep::compare {
namespace {

using testing::bytes_of;
using testing::Pair;
using TestSegment = testing::Segment;

TEST(SipHash, AgreesWithItsAuthorsVector) {
  std::array<std::byte, 16> secret{};
  for (std::size_t i = 0; i < secret.size(); ++i) secret.at(i) = static_cast<std::byte>(i);
  EXPECT_EQ(siphash(secret, 0x0706050403020100U), 0x93f5f5799a932462U);
}

TEST(FlowId, EveryFieldButTheSlotCounts) {
  const auto key = testing::test_key();
  const FlowKey flow = testing::flow_of({});
  std::set<FlowId> ids = {key.flow_id(flow)};
  for (std::size_t byte = 0; byte < sizeof(ts_flow_key); ++byte) {
    FlowKey other = flow;
    reinterpret_cast<std::uint8_t*>(&other)[byte] ^= 1;
    const bool slot = byte == offsetof(ts_flow_key, slot) || byte == offsetof(ts_flow_key, slot) + 1;
    EXPECT_EQ(ids.insert(key.flow_id(other)).second, !slot) << byte;
  }
}

TEST(FlowId, DependsOnThePairing) {
  const FlowKey flow = testing::flow_of({});
  EXPECT_EQ(testing::test_key(1).flow_id(flow), testing::test_key(1).flow_id(flow));
  EXPECT_NE(testing::test_key(1).flow_id(flow), testing::test_key(2).flow_id(flow));
}

/// Each half of the number is a hash of 32 bits that two keys share with probability 2^-32: over many pairings the low
/// 8 bits of a half agree as often as chance lets them.
TEST(FlowId, CollidesNoMoreOftenThanItsBound) {
  const FlowKey flow = testing::flow_of({});
  FlowKey other = flow;
  other.peer_port_be ^= 0x0100;
  constexpr int kPairings = 40'000;
  int low = 0;
  int high = 0;
  for (int pairing = 0; pairing < kPairings; ++pairing) {
    ts_flow_id_key key{};
    std::uint64_t number = 0;
    for (auto& factors : key.factor)
      for (auto& factor : factors) factor = siphash(testing::seed_bytes(static_cast<std::uint64_t>(pairing)), number++);
    const FlowId difference = ts_flow_id(&key, &flow) ^ ts_flow_id(&key, &other);
    low += (difference & 0xff) == 0 ? 1 : 0;
    high += (difference >> 32 & 0xff) == 0 ? 1 : 0;
  }
  // Mean 156, standard deviation 12.5.
  EXPECT_NEAR(low, kPairings / 256, 63);
  EXPECT_NEAR(high, kPairings / 256, 63);
}

TEST(FlowId, FlowsOfOneNumberWaitForTheCheckpoint) {
  Pair pair;
  const auto first = testing::encode({.seq = 100, .ack = 7, .payload = bytes_of("first")});
  const auto second = testing::encode({.seq = 100, .ack = 7, .payload = bytes_of("first"), .peer_port = 4243});
  Frame frame = parse(second, pair.key);
  pair.comparer.on_frame(1, parse(first, pair.key), first, pair.now, pair.effects);
  frame.flow_id = parse(first, pair.key).flow_id;
  pair.comparer.on_frame(2, frame, second, pair.now, pair.effects);
  EXPECT_EQ(pair.diverged(), Cause::pressure);
  EXPECT_TRUE(pair.tracker.on_frame(parse(first, pair.key)));
  EXPECT_FALSE(pair.tracker.on_frame(frame)) << "it would spoil the first one's digest";
  EXPECT_TRUE(pair.released().empty());
}

TEST(FlowKey, IsShownAsPeopleWriteIt) {
  FlowKey flow = testing::flow_of({});
  EXPECT_EQ(describe(flow), "10.0.0.2:80 > 10.0.0.9:4242");
  flow.vlan[0] = TS_VLAN_SERVICE | 7;
  flow.vlan[1] = 5;
  flow.family = 6;
  std::fill(std::begin(flow.vm_addr), std::end(flow.vm_addr), __u8{0});
  flow.vm_addr[0] = 0xfe;
  flow.vm_addr[1] = 0x80;
  flow.vm_addr[15] = 2;
  flow.peer_addr[4] = 0;
  EXPECT_EQ(describe(flow), "VLAN 7 VLAN 5 [fe80::2]:80 > [a00:9::]:4242");
}

}  // namespace
}  // namespace twinstep::compare
