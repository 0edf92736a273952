// SPDX-License-Identifier: Apache-2.0
// The uplink program: whose a frame is, and its modes.
#include "program_test.hpp"

namespace twinstep::test {
namespace {

using UplinkTest = ProgramTest;

TEST_F(UplinkTest, LeavesTheHostsOwnFramesAlone) {
  const Bytes host = ethernet(kClientMac, kBroadcast, 0x0800, pattern(60));
  for (const auto mode : {TS_UPLINK_CLOSED, TS_UPLINK_DIRECT, TS_UPLINK_MIRROR, TS_UPLINK_GATED}) {
    set_modes(TS_TAP_CLOSED, mode);
    EXPECT_EQ(uplink(host).action, XDP_PASS);
  }
  EXPECT_EQ(count_ends(), 0U);
}

TEST_F(UplinkTest, ObeysItsMode) {
  const Bytes frame = frame_of(Tcp{.from_vm = false});
  set_modes(TS_TAP_CLOSED, TS_UPLINK_CLOSED);
  EXPECT_EQ(uplink(frame).action, XDP_DROP);
  EXPECT_EQ(count(TS_COUNT_UPLINK_CLOSED), 1U);
  set_modes(TS_TAP_DIRECT, TS_UPLINK_DIRECT);
  const Ran direct = uplink(frame);
  EXPECT_EQ(direct.action, XDP_REDIRECT);
  EXPECT_EQ(direct.frame, frame);
  EXPECT_EQ(count(TS_COUNT_UPLINK_TAP), 1U);
  set_modes(TS_TAP_HOLD, TS_UPLINK_MIRROR);
  EXPECT_EQ(uplink(frame).action, XDP_REDIRECT);
  EXPECT_EQ(count(TS_COUNT_UPLINK_MIRRORED), 1U);
  set_modes(TS_TAP_HOLD, TS_UPLINK_GATED);
  EXPECT_EQ(uplink(frame).action, XDP_REDIRECT);
  EXPECT_EQ(count(TS_COUNT_UPLINK_GATED), 1U);
  EXPECT_EQ(count_ends(), 4U);
}

TEST_F(UplinkTest, EncapsulatesBeforeTheRedirectWhatHasNoRoomInFrontAfterIt) {
  const Bytes frame = frame_of(Tcp{.from_vm = false});
  set_modes(TS_TAP_HOLD, TS_UPLINK_MIRROR);
  set_zero_copy();
  const Ran mirrored = uplink(frame);
  EXPECT_EQ(mirrored.action, XDP_REDIRECT);
  const auto behind_addresses = [](const Bytes& whole) { return Bytes(whole.begin() + 12, whole.end()); };
  EXPECT_EQ(behind_addresses(mirrored.frame), behind_addresses(link_frame(TS_LINK_MIRROR, frame)));
  EXPECT_EQ(count(TS_COUNT_UPLINK_MIRRORED), 1U);
}

TEST_F(UplinkTest, GroupFramesPassToTheHostWhereEachVmGetsItsCopy) {
  const Bytes arp = ethernet(kBroadcast, kClientMac, 0x0806, pattern(46));
  for (const auto mode : {TS_UPLINK_CLOSED, TS_UPLINK_DIRECT, TS_UPLINK_MIRROR, TS_UPLINK_GATED}) {
    set_modes(TS_TAP_DIRECT, mode);
    EXPECT_EQ(uplink(arp).action, XDP_PASS);
  }
  EXPECT_EQ(count_ends(), 0U);
}

TEST_F(UplinkTest, AFrameForTheVmOnAnotherUplinkIsTheHosts) {
  set_modes(TS_TAP_DIRECT, TS_UPLINK_DIRECT, false, kLoopback + 1);
  EXPECT_EQ(uplink(frame_of(Tcp{.from_vm = false})).action, XDP_PASS);
  EXPECT_EQ(count_ends(), 0U);
}

}  // namespace
}  // namespace twinstep::test
