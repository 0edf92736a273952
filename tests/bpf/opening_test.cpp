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
constexpr unsigned kNoted = TS_SEEN_OPENED | TS_SEEN_OPENING;

class OpeningTest : public ProgramTest {
 protected:
  void secondary() { set_modes(TS_TAP_HOLD, TS_UPLINK_CLOSED, true); }

  void vm_answers(std::uint32_t isn = kSvmIsn) { tap(frame_of(Tcp{.seq = isn, .flags = kSynAck})); }
  static Bytes client_acks(std::uint32_t ack) {
    return frame_of(Tcp{.from_vm = false, .ack = ack, .options = timestamps(5, 6)});
  }
  Ran mirrored(const Bytes& inner) { return link(link_frame(TS_LINK_MIRROR, inner)); }
  void told(std::uint32_t seq_delta, std::uint32_t ts_delta) {
    const ts_flow_delta body{
        .key = flow_key(0), .seq_delta = seq_delta, .ts_delta = ts_delta, .svm_isn = kSvmIsn, .reserved = 0};
    link(link_frame(TS_LINK_FLOW_DELTA, std::as_bytes(std::span(&body, 1))));
  }
  static std::uint32_t ack_of(const Ran& ran) { return get32(ran.frame, 42); }
};

TEST_F(OpeningTest, TheSecondaryLearnsFromTheFirstAcknowledgement) {
  secondary();
  vm_answers();
  ASSERT_TRUE(flow());
  EXPECT_EQ(flow()->opening_isn, kSvmIsn);
  EXPECT_EQ(flow()->seen, kNoted);

  const Ran first = mirrored(client_acks(kPvmIsn + 1));
  EXPECT_EQ(ack_of(first), kSvmIsn + 1);
  EXPECT_TRUE(checksums_right(first.frame));
  EXPECT_EQ(flow()->seq_delta, kDelta);
  EXPECT_EQ(flow()->client_ack, kPvmIsn + 1) << "kept in the primary's numbering";
  EXPECT_EQ(flow()->seen, unsigned{TS_SEEN_ACK | TS_SEEN_TSECR | TS_SEEN_OPENED});
  EXPECT_EQ(ack_of(mirrored(client_acks(kPvmIsn + 501))), kSvmIsn + 501) << "later ones teach nothing";
  EXPECT_EQ(count(TS_COUNT_LINK_REWRITTEN), 2U);
}

TEST_F(OpeningTest, OnlyTheClientTeaches) {
  secondary();
  vm_answers();
  tap(frame_of(Tcp{.seq = kSvmIsn + 1, .ack = 77}));
  mirrored(frame_of(Tcp{.from_vm = false, .ack = 77, .flags = 0x04}));
  EXPECT_EQ(flow()->seen, kNoted) << "the VM's own segments and a number that isn't valid";
}

TEST_F(OpeningTest, WhatIsToldComesFirst) {
  secondary();
  vm_answers();
  told(kDelta, 40);
  EXPECT_EQ(flow()->seen, unsigned{TS_SEEN_OPENED});
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
  const Flow noted{.seen = kNoted, .opening_isn = kSvmIsn};
  secondary();
  set_flow(noted, kEpoch - 1);
  EXPECT_EQ(mirrored(frame).frame, frame);
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
}

TEST_F(OpeningTest, ARepeatedAnswerKeepsWhatIsKnown) {
  secondary();
  vm_answers();
  vm_answers();
  EXPECT_EQ(flow()->seen, kNoted);
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
  EXPECT_EQ(flow()->ts_delta, 0U) << "of the old connection";
}

TEST_F(OpeningTest, AConnectionTheVmDialsIsToldByTheClientsSynAck) {
  secondary();
  tap(frame_of(Tcp{.seq = kSvmIsn, .ack = 0, .flags = kSyn}));
  EXPECT_EQ(flow()->seen, kNoted | TS_SEEN_DIALLED);
  const Bytes stray = client_acks(777);
  EXPECT_EQ(mirrored(stray).frame, stray) << "a late segment of an older connection tells nothing";
  const Ran answer = mirrored(frame_of(Tcp{.from_vm = false, .ack = kPvmIsn + 1, .flags = kSynAck}));
  EXPECT_EQ(ack_of(answer), kSvmIsn + 1);
  EXPECT_TRUE(checksums_right(answer.frame));
  EXPECT_EQ(ack_of(mirrored(client_acks(kPvmIsn + 8))), kSvmIsn + 8);
}

TEST_F(OpeningTest, ARefusalIsTranslatedToo) {
  secondary();
  tap(frame_of(Tcp{.seq = kSvmIsn, .ack = 0, .flags = kSyn}));
  EXPECT_EQ(ack_of(mirrored(frame_of(Tcp{.from_vm = false, .ack = kPvmIsn + 1, .flags = 0x14}))), kSvmIsn + 1);
}

TEST_F(OpeningTest, SimultaneousOpenIsOneOpening) {
  secondary();
  tap(frame_of(Tcp{.seq = kSvmIsn, .ack = 0, .flags = kSyn}));
  mirrored(frame_of(Tcp{.from_vm = false, .ack = 0, .flags = kSyn}));
  vm_answers();
  EXPECT_EQ(flow()->seen, kNoted | TS_SEEN_DIALLED);
  EXPECT_EQ(ack_of(mirrored(frame_of(Tcp{.from_vm = false, .ack = kPvmIsn + 1, .flags = kSynAck}))), kSvmIsn + 1);
}

TEST_F(OpeningTest, ARepeatedSynKeepsTheNote) {
  secondary();
  vm_answers();
  mirrored(frame_of(Tcp{.from_vm = false, .flags = kSyn}));
  ASSERT_TRUE(flow());
  EXPECT_EQ(ack_of(mirrored(client_acks(kPvmIsn + 1))), kSvmIsn + 1);
}

TEST_F(OpeningTest, WithDataInASynOnlyWhatIsToldCounts) {
  secondary();
  const Bytes syn = frame_of(Tcp{.from_vm = false, .ack = 0, .flags = kSyn, .payload = pattern(20)});
  EXPECT_EQ(mirrored(syn).frame, syn);
  vm_answers();
  EXPECT_EQ(flow()->seen, unsigned{TS_SEEN_OPENED});
  // The VM may have sent, and the client acknowledged, more than the SYN-ACK.
  const Bytes ack = client_acks(kPvmIsn + 1001);
  EXPECT_EQ(mirrored(ack).frame, ack);
  told(kDelta, 0);
  EXPECT_EQ(ack_of(mirrored(ack)), kSvmIsn + 1001);

  tap(frame_of(Tcp{.seq = kSvmIsn + 70, .ack = 0, .flags = kSyn, .payload = pattern(20)}));
  EXPECT_EQ(flow()->seen, TS_SEEN_OPENED | unsigned{TS_SEEN_DIALLED}) << "the VM's own";
}

}  // namespace
}  // namespace twinstep::test
