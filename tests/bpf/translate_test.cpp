// SPDX-License-Identifier: Apache-2.0
// Connections that outlived a failover: what the uplink and the tap program translate, in every mode, and when it ends.
#include <algorithm>

#include "program_test.hpp"

namespace twinstep::test {
namespace {

constexpr std::uint8_t kFin = 0x11;
constexpr std::uint8_t kSyn = 0x02;
constexpr std::uint8_t kRstAck = 0x14;
constexpr std::uint8_t kSynAck = 0x12;
constexpr std::uint32_t kVmIsn = 0x00000100;
constexpr std::uint32_t kClientKnows = 0xfffffff0;  // the initial number of the VM's that the client has seen
constexpr std::uint32_t kDelta = kVmIsn - kClientKnows;
constexpr std::uint32_t kOffset = 250;

class TranslateTest : public ProgramTest {
 protected:
  void SetUp() override {
    ProgramTest::SetUp();
    if (IsSkipped() || HasFatalFailure()) return;
    set_modes(TS_TAP_DIRECT, TS_UPLINK_DIRECT);
    set_translation(known());
  }
  static ts_translation known() {
    return {.used_ns = 0, .seq_delta = kDelta, .ts_offset = kOffset, .vm_isn = kVmIsn, .flags = TS_TRANSLATION_ISN};
  }
  static ts_translation opening(std::uint32_t more = 0) {
    return {.used_ns = 0,
            .seq_delta = 0,
            .ts_offset = 0,
            .vm_isn = kVmIsn,
            .flags = TS_TRANSLATION_ISN | TS_TRANSLATION_OPENING | more};
  }
  static Tcp from_client(std::uint32_t ack, std::uint8_t flags = 0x10) {
    return {.from_vm = false, .ack = ack, .flags = flags, .options = timestamps(77, 1000), .payload = pattern(3)};
  }
  static std::uint32_t seq_of(const Ran& ran) { return get32(ran.frame, 38); }
  static std::uint32_t ack_of(const Ran& ran) { return get32(ran.frame, 42); }
};

TEST_F(TranslateTest, InboundInEveryModeBeforeAnythingElse) {
  for (const auto mode : {TS_UPLINK_DIRECT, TS_UPLINK_MIRROR, TS_UPLINK_GATED}) {
    SCOPED_TRACE(mode);
    set_modes(mode == TS_UPLINK_DIRECT ? TS_TAP_DIRECT : TS_TAP_HOLD, mode);
    const Ran ran = uplink(frame_of(from_client(kClientKnows + 20)));
    EXPECT_EQ(ran.action, XDP_REDIRECT);
    EXPECT_EQ(seq_of(ran), 1000U) << "the client's own numbering";
    EXPECT_EQ(ack_of(ran), kVmIsn + 20);
    EXPECT_EQ(get32(ran.frame, 58), 77U);
    EXPECT_EQ(get32(ran.frame, 62), 1000U - kOffset);
    EXPECT_TRUE(checksums_right(ran.frame));
  }
  EXPECT_NE(translation()->used_ns, 0U);
  set_modes(TS_TAP_CLOSED, TS_UPLINK_CLOSED);
  EXPECT_EQ(uplink(frame_of(from_client(5))).action, XDP_DROP);
}

TEST_F(TranslateTest, FourSackBlocksAndThreeWithTimestamps) {
  const auto block = [](std::uint32_t n) {
    Bytes edges(8);
    put32(edges, 0, kClientKnows + 100 * n);
    put32(edges, 4, kClientKnows + 100 * n + 50);
    return edges;
  };
  struct Case {
    Bytes options;
    std::size_t blocks_at;
    std::uint32_t blocks;
  };
  const Bytes nops = bytes_of({1, 1});
  for (const auto& each :
       {Case{concat({nops, bytes_of({5, 34}), block(1), block(2), block(3), block(4)}), 4, 4},
        Case{concat({timestamps(77, 1000), nops, bytes_of({5, 26}), block(1), block(2), block(3)}), 16, 3},
        Case{concat({bytes_of({5, 34}), block(1), block(2), block(3), block(4), nops}), 2, 4}}) {
    const Ran ran = uplink(frame_of(Tcp{.from_vm = false, .ack = kClientKnows + 1, .options = each.options}));
    for (std::uint32_t n = 0; n < each.blocks; ++n) {
      EXPECT_EQ(get32(ran.frame, 54 + each.blocks_at + 8 * n), kVmIsn + 100 * (n + 1));
      EXPECT_EQ(get32(ran.frame, 54 + each.blocks_at + 8 * n + 4), kVmIsn + 100 * (n + 1) + 50);
    }
    EXPECT_TRUE(checksums_right(ran.frame));
  }
}

TEST_F(TranslateTest, OutboundOnlyOnItsWayOut) {
  const Bytes frame = frame_of(Tcp{.seq = kVmIsn + 9, .options = timestamps(0xffffff80, 42), .payload = pattern(101)});
  const Ran direct = tap(frame);
  EXPECT_EQ(direct.action, XDP_REDIRECT);
  EXPECT_EQ(seq_of(direct), kClientKnows + 9);
  EXPECT_EQ(ack_of(direct), 2000U) << "the client's own numbering";
  EXPECT_EQ(get32(direct.frame, 58), 0xffffff80U + kOffset);
  EXPECT_EQ(get32(direct.frame, 62), 42U);
  EXPECT_TRUE(checksums_right(direct.frame));
  set_modes(TS_TAP_HOLD, TS_UPLINK_MIRROR);
  EXPECT_EQ(tap(frame).frame, frame) << "what is compared is the VM's own";
}

TEST_F(TranslateTest, OpaqueAndOddFieldsStayAsTheyAre) {
  // URG with its pointer, ECE and CWR, an MD5 signature (kind 19) and an unknown option.
  const Bytes options = concat({bytes_of({19, 18}), pattern(16), bytes_of({253, 6, 8, 10, 5, 1})});
  Bytes frame = frame_of(Tcp{.from_vm = false, .ack = kClientKnows + 5, .flags = 0xf0, .options = options});
  put16(frame, 14 + 20 + 18, 0x1234);
  const Ran ran = uplink(frame);
  put32(frame, 42, kVmIsn + 5);
  Bytes got = ran.frame;
  put16(frame, 50, 0);
  put16(got, 50, 0);
  EXPECT_EQ(got, frame);
}

TEST_F(TranslateTest, OtherConnectionsPassUntouched) {
  const Bytes in = frame_of(Tcp{.from_vm = false, .client_port = 5, .options = timestamps(1, 2)});
  const Bytes out = frame_of(Tcp{.client_port = 5, .options = timestamps(1, 2)});
  EXPECT_EQ(uplink(in).frame, in);
  EXPECT_EQ(tap(out).frame, out);
}

TEST_F(TranslateTest, WithoutAckThereIsNothingToTranslate) {
  for (const std::uint8_t flags : {kSyn, std::uint8_t{0x04}}) {
    const Bytes frame = frame_of(from_client(0, flags));
    EXPECT_EQ(uplink(frame).frame, frame);
  }
  EXPECT_TRUE(translation()) << "a client's SYN may be late or forged";
}

TEST_F(TranslateTest, TheVmsSynWithAnotherNumberEndsIt) {
  for (const auto mode : {TS_TAP_DIRECT, TS_TAP_HOLD}) {
    for (const std::uint8_t flags : {kSyn, kSynAck}) {
      set_modes(mode, TS_UPLINK_DIRECT);
      set_translation(known());
      tap(frame_of(Tcp{.seq = kVmIsn, .flags = flags}));
      ASSERT_TRUE(translation()) << "a repetition";
      const Bytes fresh = frame_of(Tcp{.seq = kVmIsn + 5000, .flags = flags, .options = timestamps(1, 2)});
      EXPECT_EQ(tap(fresh).frame, fresh);
      EXPECT_FALSE(translation());
    }
  }
  const Bytes in = frame_of(from_client(kVmIsn + 5001));
  EXPECT_EQ(uplink(in).frame, in);
}

TEST_F(TranslateTest, AnUnknownInitialNumberIsEndedByAnySyn) {
  auto old = known();
  old.flags = 0;
  old.vm_isn = 0;
  set_translation(old);
  tap(frame_of(Tcp{.seq = 0, .flags = kSynAck}));
  EXPECT_FALSE(translation());
}

TEST_F(TranslateTest, TheFirstAcknowledgementTellsAnOpenDifference) {
  set_translation(opening());
  EXPECT_EQ(seq_of(tap(frame_of(Tcp{.seq = kVmIsn, .flags = kSynAck}))), kVmIsn) << "nothing is known yet";
  EXPECT_EQ(ack_of(uplink(frame_of(from_client(kClientKnows + 1)))), kVmIsn + 1);
  EXPECT_EQ(ack_of(uplink(frame_of(from_client(kClientKnows + 8)))), kVmIsn + 8);
  const Ran out = tap(frame_of(Tcp{.seq = kVmIsn + 1, .payload = pattern(9)}));
  EXPECT_EQ(seq_of(out), kClientKnows + 1);
  EXPECT_TRUE(checksums_right(out.frame));
}

TEST_F(TranslateTest, AClientThatSawTheSurvivorsAnswerIsLeftAlone) {
  set_translation(opening());
  const Bytes frame = frame_of(from_client(kVmIsn + 1));
  EXPECT_EQ(uplink(frame).frame, frame);
  EXPECT_EQ(translation()->flags, unsigned{TS_TRANSLATION_ISN});
}

TEST_F(TranslateTest, ADialledConnectionWaitsForTheSynAck) {
  set_translation(opening(TS_TRANSLATION_DIALLED));
  const Bytes stray = frame_of(from_client(777));
  EXPECT_EQ(uplink(stray).frame, stray);
  EXPECT_EQ(ack_of(uplink(frame_of(from_client(kClientKnows + 1, kSynAck)))), kVmIsn + 1);
  set_translation(opening(TS_TRANSLATION_DIALLED));
  EXPECT_EQ(ack_of(uplink(frame_of(from_client(kClientKnows + 1, kRstAck)))), kVmIsn + 1);
}

TEST_F(TranslateTest, ClosingIsNoted) {
  uplink(frame_of(from_client(kClientKnows + 5, kFin)));
  EXPECT_EQ(translation()->flags, unsigned{TS_TRANSLATION_ISN | TS_TRANSLATION_CLIENT_FIN});
  tap(frame_of(Tcp{.seq = kVmIsn + 5, .flags = kFin}));
  const unsigned both = TS_TRANSLATION_ISN | TS_TRANSLATION_CLIENT_FIN | TS_TRANSLATION_VM_FIN;
  EXPECT_EQ(translation()->flags, both);
  tap(frame_of(Tcp{.seq = kVmIsn + 5, .flags = kRstAck}));
  EXPECT_EQ(translation()->flags, both | TS_TRANSLATION_RESET);
  uplink(frame_of(from_client(kClientKnows + 5)));
  EXPECT_EQ(translation()->flags, both) << "a reset that the other side did not accept";
}

}  // namespace
}  // namespace twinstep::test
