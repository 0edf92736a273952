// SPDX-License-Identifier: Apache-2.0
// The link program: what the secondary delivers to its VM, and how its numbers are made the VM's own.
#include <algorithm>

#include "program_test.hpp"

namespace twinstep::test {
namespace {

constexpr std::uint32_t kSvmIsn = 7000;

class LinkTest : public ProgramTest {
 protected:
  Ran mirrored(const Bytes& inner) { return link(link_frame(TS_LINK_MIRROR, inner)); }

  /// Bytes of a FLOW_DELTA body for the flow of packets.hpp; the sender does not know the receiver's slot.
  static Bytes delta(std::uint32_t seq_delta, std::uint32_t ts_delta) {
    const ts_flow_delta body{
        .key = flow_key(0), .seq_delta = seq_delta, .ts_delta = ts_delta, .svm_isn = kSvmIsn, .reserved = 0};
    const auto bytes = std::as_bytes(std::span(&body, 1));
    return {bytes.begin(), bytes.end()};
  }
};

TEST_F(LinkTest, LeavesOtherTrafficAlone) {
  set_modes(TS_TAP_HOLD, TS_UPLINK_CLOSED, true);
  EXPECT_EQ(link(frame_of(Tcp{})).action, XDP_PASS);
  EXPECT_EQ(link(ethernet(kBroadcast, kClientMac, 0x0806, pattern(46))).action, XDP_PASS);
  EXPECT_EQ(count_ends(), 0U);
}

TEST_F(LinkTest, DeliversMirroredFrames) {
  set_modes(TS_TAP_HOLD, TS_UPLINK_CLOSED, true);
  const Bytes inner = frame_of(Tcp{.from_vm = false, .options = timestamps(1, 2), .payload = pattern(33)});
  const Ran ran = mirrored(inner);
  EXPECT_EQ(ran.action, XDP_REDIRECT);
  EXPECT_EQ(ran.frame, inner);
  EXPECT_EQ(count(TS_COUNT_LINK_DELIVERED), 1U);
  EXPECT_EQ(count(TS_COUNT_LINK_REWRITTEN), 0U);
}

TEST_F(LinkTest, DropsStaleAndUnwantedFrames) {
  const Bytes inner = frame_of(Tcp{.from_vm = false});
  set_modes(TS_TAP_HOLD, TS_UPLINK_CLOSED, true);
  EXPECT_EQ(link(link_frame(TS_LINK_MIRROR, inner, kEpoch - 1)).action, XDP_DROP);
  EXPECT_EQ(link(link_frame(TS_LINK_MIRROR, inner, kEpoch + 1)).action, XDP_DROP);
  set_modes(TS_TAP_HOLD, TS_UPLINK_CLOSED, false);
  EXPECT_EQ(mirrored(inner).action, XDP_DROP);
  EXPECT_EQ(count(TS_COUNT_LINK_STALE), 3U);
  EXPECT_FALSE(flow()) << "a dropped frame must not teach us anything of the client";
  EXPECT_EQ(link(link_frame(TS_LINK_MIRROR, inner, kEpoch, kVmId + 1)).action, XDP_DROP);
  EXPECT_EQ(count_ends(), 3U) << "an unknown VM has no slot to count in";
  EXPECT_EQ(link(link_frame(TS_LINK_MIRROR, inner, kEpoch, kVmId, TS_ABI_VERSION + 1)).action, XDP_DROP);
  EXPECT_EQ(link(link_frame(99, inner)).action, XDP_DROP);
  EXPECT_EQ(count(TS_COUNT_LINK_ERROR), 2U);
}

TEST_F(LinkTest, RemembersWhatTheClientHas) {
  set_modes(TS_TAP_HOLD, TS_UPLINK_CLOSED, true);
  mirrored(frame_of(Tcp{.from_vm = false, .ack = 0xfffffff0, .options = timestamps(1, 500)}));
  mirrored(frame_of(Tcp{.from_vm = false, .ack = 20, .options = timestamps(1, 510)}));
  mirrored(frame_of(Tcp{.from_vm = false, .ack = 0xfffffff8, .options = timestamps(1, 505)}));
  const auto state = flow();
  ASSERT_TRUE(state);
  EXPECT_EQ(state->seen, unsigned{TS_SEEN_ACK | TS_SEEN_TSECR});
  EXPECT_EQ(state->client_ack, 20U) << "an older segment that comes late takes nothing back";
  EXPECT_EQ(state->client_tsecr, 510U);
}

TEST_F(LinkTest, AClientsSynAloneChangesNothing) {
  set_modes(TS_TAP_HOLD, TS_UPLINK_CLOSED, true);
  const Bytes syn = frame_of(Tcp{.from_vm = false, .flags = 0x02, .options = timestamps(1, 0)});
  EXPECT_EQ(mirrored(syn).frame, syn);
  EXPECT_FALSE(flow());
  set_flow({.seq_delta = 9, .ts_delta = 9, .seen = TS_SEEN_ACK});
  EXPECT_EQ(mirrored(syn).frame, syn);
  EXPECT_EQ(flow()->seq_delta, 9U) << "it may be a late duplicate, or forged";
}

TEST_F(LinkTest, EntersDifferencesAndRewrites) {
  set_modes(TS_TAP_HOLD, TS_UPLINK_CLOSED, true);
  mirrored(frame_of(Tcp{.from_vm = false, .ack = 300, .options = timestamps(5, 600)}));
  EXPECT_EQ(link(link_frame(TS_LINK_FLOW_DELTA, delta(0x80000001, 50))).action, XDP_DROP);
  EXPECT_EQ(count(TS_COUNT_LINK_DELTAS), 1U);
  const auto state = flow();
  ASSERT_TRUE(state);
  EXPECT_EQ(state->seq_delta, 0x80000001U);
  EXPECT_EQ(state->epoch, kEpoch);
  EXPECT_EQ(state->client_ack, 300U) << "a difference must not erase what is known of the client";

  const Ran ran = mirrored(frame_of(Tcp{.from_vm = false, .ack = 400, .options = timestamps(5, 700)}));
  EXPECT_EQ(get32(ran.frame, 42), 0x80000000U + 401U);
  EXPECT_EQ(get32(ran.frame, 58), 5U);
  EXPECT_EQ(get32(ran.frame, 62), 750U);
  EXPECT_TRUE(checksums_right(ran.frame));
  EXPECT_EQ(count(TS_COUNT_LINK_REWRITTEN), 1U);
  EXPECT_EQ(flow()->client_ack, 400U) << "kept in the primary's numbering";
}

TEST_F(LinkTest, RewritesSackBlocksWhereverTheyLie) {
  set_modes(TS_TAP_HOLD, TS_UPLINK_CLOSED, true);
  set_flow({.seq_delta = 0x01020304, .ts_delta = 0x00ff00ff, .seen = TS_SEEN_ACK});
  const Bytes sack = bytes_of({5, 18, 0, 0, 1, 0, 0, 0, 2, 0, 0xff, 0xff, 0xff, 0xf0, 0, 0, 0, 0x10});
  const Bytes stamp = bytes_of({8, 10, 0, 0, 0, 9, 0, 0, 0, 8});
  const Bytes nop = bytes_of({1});
  struct Case {
    const char* name;
    Bytes options;
    std::size_t sack_at, stamp_at;
  };
  const std::vector<Case> cases{
      {"timestamps, then SACK, aligned", concat({nop, nop, stamp, nop, nop, sack}), 14, 2},
      {"all at odd places", concat({nop, stamp, sack, nop, nop, nop}), 11, 1},
      {"SACK first, unknown option between", concat({sack, bytes_of({253, 3, 7}), stamp, nop}), 0, 21},
  };
  for (const auto& each : cases) {
    SCOPED_TRACE(each.name);
    ASSERT_EQ(each.options.size() % 4, 0U);
    const Ran ran = mirrored(frame_of(Tcp{.from_vm = false, .options = each.options, .payload = pattern(7)}));
    EXPECT_EQ(ran.action, XDP_REDIRECT);
    const std::size_t options_at = 54;
    EXPECT_EQ(get32(ran.frame, options_at + each.sack_at + 2), 0x01020404U);
    EXPECT_EQ(get32(ran.frame, options_at + each.sack_at + 6), 0x01020504U);
    EXPECT_EQ(get32(ran.frame, options_at + each.sack_at + 10), 0x010202f4U);
    EXPECT_EQ(get32(ran.frame, options_at + each.sack_at + 14), 0x01020314U);
    EXPECT_EQ(get32(ran.frame, options_at + each.stamp_at + 2), 9U);
    EXPECT_EQ(get32(ran.frame, options_at + each.stamp_at + 6), 0x00ff0107U);
    EXPECT_TRUE(checksums_right(ran.frame));
  }
}

TEST_F(LinkTest, MalformedOptionsStayAsTheyAre) {
  set_modes(TS_TAP_HOLD, TS_UPLINK_CLOSED, true);
  set_flow({.seq_delta = 0, .ts_delta = 5, .seen = TS_SEEN_ACK});
  for (const Bytes& options :
       {bytes_of({8, 0, 1, 1}), bytes_of({8, 10, 0, 0}), bytes_of({1, 1, 1, 8}), bytes_of({0, 8, 10, 0})}) {
    const Bytes frame = frame_of(Tcp{.from_vm = false, .options = options, .payload = pattern(20)});
    const Ran ran = mirrored(frame);
    EXPECT_EQ(ran.action, XDP_REDIRECT);
    EXPECT_EQ(ran.frame, frame);
  }
}

TEST_F(LinkTest, DifferencesEndWithTheirEpoch) {
  set_modes(TS_TAP_HOLD, TS_UPLINK_CLOSED, true);
  const Bytes inner = frame_of(Tcp{.from_vm = false, .options = timestamps(1, 2)});
  set_flow({.seq_delta = 1, .ts_delta = 1}, kEpoch - 1);
  EXPECT_EQ(mirrored(inner).frame, inner);
}

TEST_F(LinkTest, WhatIsToldLateOrOfAnotherConnectionIsStale) {
  set_modes(TS_TAP_HOLD, TS_UPLINK_CLOSED, true);
  set_flow({.seq_delta = 5, .seen = TS_SEEN_OPENED, .opening_isn = kSvmIsn});
  link(link_frame(TS_LINK_FLOW_DELTA, delta(1, 1), kEpoch - 1));
  EXPECT_EQ(flow()->seq_delta, 5U);
  set_flow({.seq_delta = 5, .seen = TS_SEEN_OPENED, .opening_isn = kSvmIsn + 1});
  link(link_frame(TS_LINK_FLOW_DELTA, delta(1, 1)));
  EXPECT_EQ(flow()->seq_delta, 5U);
  EXPECT_EQ(count(TS_COUNT_LINK_STALE), 2U);
  set_modes(TS_TAP_HOLD, TS_UPLINK_CLOSED, false);
  link(link_frame(TS_LINK_FLOW_DELTA, delta(1, 1)));
  EXPECT_EQ(count(TS_COUNT_LINK_STALE), 3U);
}

TEST_F(LinkTest, HandsRecordsToUserSpace) {
  set_modes(TS_TAP_HOLD, TS_UPLINK_MIRROR);
  const Bytes frame = link_frame(TS_LINK_RECORDS, pattern(sizeof(ts_record)), kEpoch + 7);
  const Ran ran = link(frame);
  EXPECT_EQ(ran.action, XDP_REDIRECT);
  EXPECT_EQ(ran.frame, frame);
  EXPECT_EQ(count(TS_COUNT_LINK_RECORDS), 1U);
}

}  // namespace
}  // namespace twinstep::test
