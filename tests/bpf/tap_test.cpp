// SPDX-License-Identifier: Apache-2.0
// The tap program: classes, digests, metadata, gate.
#include <algorithm>

#include "core/compare/frame.hpp"
#include "program_test.hpp"

namespace twinstep::test {
namespace {

using TapTest = ProgramTest;

/// D = sum of byte_i * 256^i mod p, byte by byte: none of the tables and limbs of the program.
compare::Digest reference_digest(std::span<const std::byte> bytes, compare::Uint128 prime) {
  compare::Digest digest = 0;
  for (auto byte = bytes.rbegin(); byte != bytes.rend(); ++byte)
    digest = (digest * 256 + std::to_integer<unsigned>(*byte)) % prime;
  return digest;
}

std::span<const std::byte> compared(const Ran& ran) {
  return std::span(ran.frame).subspan(ran.meta->payload_offset, ran.meta->payload_bytes);
}

TEST_F(TapTest, DigestsEveryLength) {
  set_modes(TS_TAP_HOLD, TS_UPLINK_CLOSED);
  for (std::size_t length = 0; length <= TS_DIGEST_BYTES_MAX; length += length < 260 || length > 1980 ? 1 : 13) {
    const Bytes payload = pattern(length, static_cast<unsigned>(length));
    const Ran ran = tap(frame_of(Tcp{.payload = payload}));
    ASSERT_TRUE(ran.meta) << length;
    ASSERT_EQ(ran.meta->payload_bytes, length);
    ASSERT_TRUE(std::ranges::equal(compared(ran), payload)) << length;
    ASSERT_TRUE(key_->reduce(ran.meta->acc) == reference_digest(payload, key_->prime())) << length;
  }
}

TEST_F(TapTest, DigestsTheLargestBytes) {
  set_modes(TS_TAP_HOLD, TS_UPLINK_CLOSED);
  const Bytes payload(TS_DIGEST_BYTES_MAX, std::byte{0xff});
  const Ran ran = tap(frame_of(Tcp{.payload = payload}));
  ASSERT_TRUE(ran.meta);
  EXPECT_TRUE(key_->reduce(ran.meta->acc) == reference_digest(payload, key_->prime()));
}

TEST_F(TapTest, LeavesLongerPayloadsToUserSpace) {
  set_modes(TS_TAP_HOLD, TS_UPLINK_CLOSED);
  const Ran ran = tap(frame_of(Tcp{.payload = pattern(TS_DIGEST_BYTES_MAX + 1)}));
  ASSERT_TRUE(ran.meta);
  EXPECT_EQ(ran.meta->class_flags >> 4, TS_META_DIGEST_PARTIAL);
  EXPECT_EQ(ran.meta->payload_bytes, TS_DIGEST_BYTES_MAX + 1);
}

struct ClassCase {
  const char* name;
  Bytes frame;
  ts_class expected;
  std::size_t payload_offset;
  std::size_t payload_bytes;
};

std::vector<ClassCase> class_cases() {
  Bytes overlong = frame_of(Ip{.payload = pattern(40)});
  put16(overlong, 16, 1000);
  Bytes bad_doff = frame_of(Tcp{.payload = pattern(8)});
  bad_doff[14 + 20 + 12] = std::byte{0xf0};
  Bytes padded = frame_of(Tcp{});
  padded.resize(60);
  const Mac multicast{0x33, 0x33, 0, 0, 0, 1};
  return {
      {"tcp", frame_of(Tcp{.payload = pattern(9)}), TS_CLASS_TCP, 54, 9},
      {"tcp with options", frame_of(Tcp{.options = timestamps(1, 2), .payload = pattern(9)}), TS_CLASS_TCP, 66, 9},
      {"tcp with all the options there can be",
       frame_of(Tcp{.options = Bytes(40, std::byte{1}), .ip_options = Bytes(40, std::byte{1}), .payload = pattern(3)}),
       TS_CLASS_TCP, 134, 3},
      {"tcp, padded by Ethernet", padded, TS_CLASS_TCP, 54, 0},
      {"tcp, header longer than the packet", bad_doff, TS_CLASS_DATAGRAM, 34, 28},
      {"udp", frame_of(Ip{.payload = pattern(30)}), TS_CLASS_DATAGRAM, 34, 30},
      {"icmp", frame_of(Ip{.protocol = 1, .payload = pattern(8)}), TS_CLASS_DATAGRAM, 34, 8},
      {"tcp, first fragment", frame_of(Ip{.protocol = 6, .fragment = 0x2000, .payload = pattern(64)}),
       TS_CLASS_DATAGRAM, 34, 64},
      {"tcp, later fragment", frame_of(Ip{.protocol = 6, .fragment = 0x0001, .payload = pattern(64)}),
       TS_CLASS_DATAGRAM, 34, 64},
      {"igmp", frame_of(Ip{.protocol = 2, .destination = 0xefffffff, .payload = pattern(8)}), TS_CLASS_SOFT, 14, 28},
      {"mdns", frame_of(Ip{.destination = 0xe00000fb, .payload = pattern(8)}), TS_CLASS_SOFT, 14, 28},
      {"other multicast", frame_of(Ip{.destination = 0xe0000100, .payload = pattern(8)}), TS_CLASS_DATAGRAM, 34, 8},
      {"ip, longer than the frame", overlong, TS_CLASS_OTHER, 14, 60},
      {"arp", ethernet(kBroadcast, kVmMac, 0x0806, pattern(46)), TS_CLASS_ARP, 14, 28},
      {"arp, cut short", ethernet(kBroadcast, kVmMac, 0x0806, pattern(27)), TS_CLASS_OTHER, 14, 27},
      {"another kind", ethernet(kClientMac, kVmMac, 0x88cc, pattern(60)), TS_CLASS_OTHER, 14, 60},
      {"another kind, multicast", ethernet(multicast, kVmMac, 0x88cc, pattern(60)), TS_CLASS_SOFT, 14, 60},
      {"broadcast of another kind", ethernet(kBroadcast, kVmMac, 0x8035, pattern(46)), TS_CLASS_OTHER, 14, 46},
  };
}

TEST_F(TapTest, ClassifiesAsUserSpaceDoes) {
  set_modes(TS_TAP_HOLD, TS_UPLINK_CLOSED);
  for (const auto& each : class_cases()) {
    SCOPED_TRACE(each.name);
    const Ran ran = tap(each.frame);
    ASSERT_TRUE(ran.meta);
    EXPECT_EQ(ran.frame, each.frame);
    EXPECT_EQ(ran.meta->class_flags, each.expected);
    EXPECT_EQ(ran.meta->payload_offset, each.payload_offset);
    EXPECT_EQ(ran.meta->payload_bytes, each.payload_bytes);
    EXPECT_EQ(ran.meta->epoch, kEpoch);
    const auto from_meta = compare::parse(ran.frame, *ran.meta, *key_);
    const auto from_frame = compare::parse(ran.frame, *key_);
    EXPECT_EQ(from_frame.cls, each.expected);
    EXPECT_EQ(from_meta.cls, each.expected);
    EXPECT_TRUE(from_meta.digest == from_frame.digest);
  }
}

TEST_F(TapTest, ObeysItsMode) {
  const Bytes frame = frame_of(Tcp{.payload = pattern(5)});
  set_modes(TS_TAP_CLOSED, TS_UPLINK_DIRECT);
  EXPECT_EQ(tap(frame).action, XDP_DROP);
  EXPECT_EQ(count(TS_COUNT_TAP_CLOSED), 1U);
  set_modes(TS_TAP_DIRECT, TS_UPLINK_DIRECT);
  const Ran direct = tap(frame);
  EXPECT_EQ(direct.action, XDP_REDIRECT);
  EXPECT_EQ(direct.frame, frame);
  EXPECT_FALSE(direct.meta);
  EXPECT_EQ(count(TS_COUNT_TAP_DIRECT), 1U);
  set_modes(TS_TAP_HOLD, TS_UPLINK_CLOSED);
  EXPECT_EQ(tap(frame).action, XDP_REDIRECT);
  EXPECT_EQ(count(TS_COUNT_TAP_HELD), 1U);
  EXPECT_EQ(count_ends(), 3U);
}

}  // namespace
}  // namespace twinstep::test
