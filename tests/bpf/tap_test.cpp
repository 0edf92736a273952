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
