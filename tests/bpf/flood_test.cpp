// SPDX-License-Identifier: Apache-2.0
// What the secondary knows of connections survives what strangers make it note.
#include <cstring>

#include "program_test.hpp"

namespace twinstep::test {
namespace {

constexpr std::uint32_t kDelta = 4000;
constexpr std::uint8_t kSyn = 0x02;
constexpr std::uint8_t kSynAck = 0x12;
constexpr std::uint8_t kRst = 0x04;
/// More than a table of connections holds.
constexpr unsigned kStrangers = 10000;

class FloodTest : public ProgramTest {
 protected:
  void SetUp() override {
    ProgramTest::SetUp();
    set_modes(TS_TAP_HOLD, TS_UPLINK_CLOSED, true);
  }
  /// The port of the client, and with it the sequence of addresses, so that there are more flows than ports.
  static Bytes from_stranger(unsigned n, Tcp tcp) {
    tcp.from_vm = false;
    Bytes frame = frame_of(tcp);
    put32(frame, 26, 0x0b000000 + n);
    return frame;
  }
  static Bytes to_stranger(unsigned n, const Tcp& tcp) {
    Bytes frame = frame_of(tcp);
    put32(frame, 30, 0x0b000000 + n);
    return frame;
  }
  Ran mirrored(const Bytes& inner) { return link(link_frame(TS_LINK_MIRROR, inner)); }
  Ran mirrored_to_other(const Bytes& inner) { return link(link_frame(TS_LINK_MIRROR, inner, kEpoch, kOtherVmId)); }
  void open_connection() {
    tap(frame_of(Tcp{.seq = 999 + kDelta, .flags = kSynAck}));
    mirrored(frame_of(Tcp{.from_vm = false, .ack = 1000}));
    tap(frame_of(Tcp{.seq = 1000 + kDelta}));
  }
};

TEST_F(FloodTest, AFlowIsAStrangersUntilTheVmSaysMoreThanAnAnswer) {
  const auto key = flow_key(kSlot);
  tap(frame_of(Tcp{.seq = 999 + kDelta, .flags = kSynAck}));
  EXPECT_TRUE(half_open_flow(key));
  mirrored(frame_of(Tcp{.from_vm = false, .ack = 1000}));
  tap(frame_of(Tcp{.seq = 1, .flags = kRst}));
  ASSERT_TRUE(half_open_flow(key)) << "what the client says and a RST change nothing";
  EXPECT_EQ(half_open_flow(key)->seq_delta, kDelta);
  EXPECT_FALSE(settled_flow(key));

  tap(frame_of(Tcp{.seq = 1000 + kDelta}));
  EXPECT_FALSE(half_open_flow(key));
  ASSERT_TRUE(settled_flow(key));
  EXPECT_EQ(settled_flow(key)->seq_delta, kDelta);
  EXPECT_EQ(settled_flow(key)->client_ack, 1000U);
}

TEST_F(FloodTest, AConnectionThatTheVmDialsIsItsOwn) {
  tap(frame_of(Tcp{.seq = 999, .flags = kSyn}));
  EXPECT_TRUE(settled_flow(flow_key(kSlot)));
}

TEST_F(FloodTest, AReusedPortStaysAConnection) {
  open_connection();
  tap(frame_of(Tcp{.seq = 77777, .flags = kSynAck}));
  ASSERT_TRUE(settled_flow(flow_key(kSlot)));
  EXPECT_EQ(settled_flow(flow_key(kSlot))->opening_isn, 77777U);
}

TEST_F(FloodTest, AnswersToStrangersPushNoConnectionOut) {
  open_connection();
  for (unsigned n = 0; n < kStrangers; ++n) tap(to_stranger(n, Tcp{.seq = n, .flags = kSynAck}));
  EXPECT_EQ(get32(mirrored(frame_of(Tcp{.from_vm = false, .ack = 1100})).frame, 42), 1100 + kDelta);
}

TEST_F(FloodTest, SegmentsOfStrangersPushNoConnectionOut) {
  open_connection();
  for (unsigned n = 0; n < kStrangers; ++n) mirrored(from_stranger(n, Tcp{.ack = n}));
  EXPECT_EQ(get32(mirrored(frame_of(Tcp{.from_vm = false, .ack = 1100})).frame, 42), 1100 + kDelta);
}

TEST_F(FloodTest, ConnectionsBeyondTheBoundDoMakeRoom) {
  open_connection();
  for (unsigned n = 0; n < 2 * kStrangers; ++n) {
    tap(to_stranger(n, Tcp{.seq = n, .flags = kSynAck}));
    tap(to_stranger(n, Tcp{.seq = n + 1}));
  }
  EXPECT_FALSE(settled_flow(flow_key(kSlot)));
}

TEST_F(FloodTest, AFloodOfOneVmPushesNothingOfAnotherOut) {
  add_other_standby();
  open_connection();
  // A connection that is being opened, of which the first VM has said its SYN-ACK only.
  const auto opening = [](Tcp tcp) {
    tcp.client_port = kClientPort + 1;
    return frame_of(tcp);
  };
  tap(opening(Tcp{.seq = 999 + kDelta, .flags = kSynAck}));
  for (unsigned n = 0; n < kStrangers; ++n) {
    mirrored_to_other(from_stranger(n, Tcp{.flags = kSyn, .payload = pattern(1)}));
    mirrored_to_other(from_stranger(n, Tcp{.ack = n}));
  }
  EXPECT_EQ(get32(mirrored(opening(Tcp{.from_vm = false, .ack = 1000})).frame, 42), 1000 + kDelta);
  EXPECT_EQ(get32(mirrored(frame_of(Tcp{.from_vm = false, .ack = 1100})).frame, 42), 1100 + kDelta);
}

TEST_F(FloodTest, ATableHoldsAsManyAsItsVmsLimitSays) {
  // Connections that the VM dials, each once.
  for (unsigned n = 0; n < kFlowBounds.settled; ++n) tap(to_stranger(n, Tcp{.seq = n, .flags = kSyn}));
  unsigned known = 0;
  for (unsigned n = 0; n < kFlowBounds.settled; ++n) {
    auto key = flow_key(kSlot);
    Bytes address(4);
    put32(address, 0, 0x0b000000 + n);
    std::memcpy(key.peer_addr, address.data(), address.size());
    known += settled_flow(key) ? 1U : 0U;
  }
  EXPECT_EQ(known, kFlowBounds.settled);
}

TEST_F(FloodTest, ABoundOfAnotherSizeForgetsWhatWasKnown) {
  open_connection();
  EXPECT_TRUE(settled_flow(flow_key(kSlot)));
  open_tables({.settled = 256, .half_open = 256});
  EXPECT_FALSE(flow());
  open_connection();
  EXPECT_TRUE(settled_flow(flow_key(kSlot)));
}

}  // namespace
}  // namespace twinstep::test
