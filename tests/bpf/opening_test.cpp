// SPDX-License-Identifier: Apache-2.0
// How the secondary works out the difference of a connection's numbers when nobody tells it: from its VM's SYN-ACK and
// the client's acknowledgement of the other VM's.
#include "program_test.hpp"

namespace twinstep::test {
namespace {

constexpr std::uint32_t kSvmIsn = 0x00000100;
constexpr std::uint32_t kPvmIsn = 0xfffffff0;
constexpr std::uint32_t kDelta = kSvmIsn - kPvmIsn;
constexpr std::uint8_t kSyn = 0x02;
constexpr std::uint8_t kSynAck = 0x12;

class OpeningTest : public ProgramTest {
 protected:
  void secondary() { set_modes(TS_TAP_HOLD, TS_UPLINK_CLOSED, true); }
  void solo() { set_modes(TS_TAP_DIRECT, TS_UPLINK_DIRECT); }

  void vm_answers(std::uint32_t isn = kSvmIsn) { tap(frame_of(Tcp{.seq = isn, .flags = kSynAck})); }
  static Bytes client_acks(std::uint32_t ack) {
    return frame_of(Tcp{.from_vm = false, .ack = ack, .options = timestamps(5, 6)});
  }
  Ran mirrored(const Bytes& inner) { return link(link_frame(TS_LINK_MIRROR, inner)); }
  void told(std::uint32_t seq_delta, std::uint32_t ts_delta) {
    const ts_flow_delta body{.key = flow_key(0), .seq_delta = seq_delta, .ts_delta = ts_delta};
    link(link_frame(TS_LINK_FLOW_DELTA, std::as_bytes(std::span(&body, 1))));
  }
  static std::uint32_t ack_of(const Ran& ran) { return get32(ran.frame, 42); }
};

TEST_F(OpeningTest, TheSecondaryLearnsFromTheFirstAcknowledgement) {
  secondary();
  vm_answers();
  ASSERT_TRUE(flow());
  EXPECT_EQ(flow()->opening_isn, kSvmIsn);
  EXPECT_EQ(flow()->seen, unsigned{TS_SEEN_OPENING});

  const Ran first = mirrored(client_acks(kPvmIsn + 1));
  EXPECT_EQ(ack_of(first), kSvmIsn + 1);
  EXPECT_TRUE(checksums_right(first.frame));
  EXPECT_EQ(flow()->seq_delta, kDelta);
  EXPECT_EQ(flow()->client_ack, kPvmIsn + 1) << "kept in the primary's numbering";
  EXPECT_EQ(flow()->seen, unsigned{TS_SEEN_ACK | TS_SEEN_TSECR});
  EXPECT_EQ(ack_of(mirrored(client_acks(kPvmIsn + 501))), kSvmIsn + 501) << "later ones teach nothing";
  EXPECT_EQ(count(TS_COUNT_LINK_REWRITTEN), 2U);
}

TEST_F(OpeningTest, TheSurvivorLearnsFromTheFirstAcknowledgement) {
  secondary();
  vm_answers();
  solo();
  const Ran again = tap(frame_of(Tcp{.seq = kSvmIsn, .flags = kSynAck}));
  EXPECT_EQ(get32(again.frame, 38), kSvmIsn) << "nothing is known yet";
  EXPECT_EQ(ack_of(uplink(client_acks(kPvmIsn + 1))), kSvmIsn + 1);
  EXPECT_EQ(ack_of(uplink(client_acks(kPvmIsn + 8))), kSvmIsn + 8);
  const Ran out = tap(frame_of(Tcp{.seq = kSvmIsn + 1, .payload = pattern(9)}));
  EXPECT_EQ(get32(out.frame, 38), kPvmIsn + 1);
  EXPECT_TRUE(checksums_right(out.frame));
}

TEST_F(OpeningTest, AClientThatSawTheSurvivorsAnswerIsLeftAlone) {
  secondary();
  vm_answers();
  solo();
  const Bytes frame = client_acks(kSvmIsn + 1);
  EXPECT_EQ(uplink(frame).frame, frame);
  EXPECT_EQ(flow()->seen, 0U);
}

TEST_F(OpeningTest, OnlyTheClientTeaches) {
  secondary();
  vm_answers();
  tap(frame_of(Tcp{.seq = kSvmIsn + 1, .ack = 77}));
  mirrored(frame_of(Tcp{.from_vm = false, .ack = 77, .flags = 0x04}));
  EXPECT_EQ(flow()->seen, unsigned{TS_SEEN_OPENING}) << "the VM's own segments and a number that isn't valid";
}

TEST_F(OpeningTest, WhatIsToldComesFirst) {
  secondary();
  vm_answers();
  told(kDelta, 40);
  EXPECT_EQ(flow()->seen, 0U);
  const Ran ran = mirrored(client_acks(kPvmIsn + 1000));
  EXPECT_EQ(ack_of(ran), kSvmIsn + 1000);
  EXPECT_EQ(get32(ran.frame, 62), 46U);
}

TEST_F(OpeningTest, WhatIsToldLateHolds) {
  secondary();
  vm_answers();
  mirrored(client_acks(kPvmIsn + 1));
  told(kDelta, 40);
  const Ran ran = mirrored(client_acks(kPvmIsn + 1));
  EXPECT_EQ(ack_of(ran), kSvmIsn + 1);
  EXPECT_EQ(get32(ran.frame, 62), 46U);
}

TEST_F(OpeningTest, ANoteOfAnOlderEpochIsVoid) {
  const Bytes frame = client_acks(kPvmIsn + 1);
  const Flow noted{.seen = TS_SEEN_OPENING, .opening_isn = kSvmIsn};
  secondary();
  set_flow(noted, kEpoch - 1);
  EXPECT_EQ(mirrored(frame).frame, frame);
  solo();
  set_flow(noted, kEpoch - 1);
  EXPECT_EQ(uplink(frame).frame, frame);

  secondary();
  set_flow(noted, kEpoch - 1);
  vm_answers();
  EXPECT_EQ(ack_of(mirrored(frame)), kSvmIsn + 1) << "a repeated answer is noted anew in its epoch";
}

TEST_F(OpeningTest, OnlyASecondaryNotes) {
  for (const auto mode : {TS_TAP_DIRECT, TS_TAP_HOLD}) {
    set_modes(mode, mode == TS_TAP_HOLD ? TS_UPLINK_MIRROR : TS_UPLINK_DIRECT);
    vm_answers();
    EXPECT_FALSE(flow());
  }
  solo();
  const Bytes frame = client_acks(kPvmIsn + 1);
  EXPECT_EQ(uplink(frame).frame, frame);
}

TEST_F(OpeningTest, ARepeatedAnswerKeepsWhatIsKnown) {
  secondary();
  vm_answers();
  vm_answers();
  EXPECT_EQ(flow()->seen, unsigned{TS_SEEN_OPENING});
  mirrored(client_acks(kPvmIsn + 1));
  vm_answers();
  EXPECT_EQ(ack_of(mirrored(client_acks(kPvmIsn + 30))), kSvmIsn + 30);
}

TEST_F(OpeningTest, AnotherAnswerIsAnotherOpening) {
  secondary();
  vm_answers();
  told(kDelta, 40);
  vm_answers(kSvmIsn + 5000);
  EXPECT_EQ(flow()->opening_isn, kSvmIsn + 5000);
  EXPECT_EQ(ack_of(mirrored(client_acks(kPvmIsn + 1))), kSvmIsn + 5001);
  vm_answers(kSvmIsn + 9000);
  solo();
  vm_answers(kSvmIsn + 9999);
  EXPECT_FALSE(flow()) << "the note is of an opening that came to nothing";
}

TEST_F(OpeningTest, ARepeatedSynKeepsTheNote) {
  secondary();
  vm_answers();
  mirrored(frame_of(Tcp{.from_vm = false, .flags = kSyn}));
  ASSERT_TRUE(flow());
  EXPECT_EQ(ack_of(mirrored(client_acks(kPvmIsn + 1))), kSvmIsn + 1);
}

}  // namespace
}  // namespace twinstep::test
