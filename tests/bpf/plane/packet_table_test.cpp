// SPDX-License-Identifier: Apache-2.0
// Every packet of the table, end to end through two planes and both ways.
#include <algorithm>

#include "core/compare/frame.hpp"
#include "fuzz/mutate.hpp"
#include "layers.hpp"
#include "packet_table.hpp"
#include "plane_fixture.hpp"

namespace twinstep::test {
namespace {

constexpr std::chrono::milliseconds kMoment{25};
constexpr std::uint16_t kFirstPort = 30000;
// The kernel of whoever would receive it drops it.
constexpr const char* kNotReceived = "a tag cut short";

class PacketTableTest : public ProtectedVmFixture {
 protected:
  void SetUp() override {
    ProtectedVmFixture::SetUp();
    if (IsSkipped() || HasFatalFailure()) return;
    // A switch keeps some groups to itself, so the client is on the wire in front of it.
    lab_->be_client_on("port-a");
    ASSERT_EQ(lab_->failure(), "");
  }

  /// A connection of its own for each segment. Its checksum is nobody's business here.
  Bytes on_its_own(Bytes frame) {
    const ts_packet layout = compare::layout_of(frame);
    if (layout.kind == TS_CLASS_TCP) put16(frame, layout.transport_offset + 2U, ++port_);
    return frame;
  }

  static Bytes with_last_bit_flipped(Bytes frame, const PacketCase& of) {
    frame.at(of.payload_offset + of.payload_bytes - 1) ^= std::byte{1};
    return frame;
  }

  std::uint16_t port_ = kFirstPort;
};

TEST_F(PacketTableTest, LeavesOnceTheSvmHasSentTheSame) {
  for (const PacketCase& each : packet_table()) {
    SCOPED_TRACE(each.name);
    if (each.name == kNotReceived) continue;
    const Bytes frame = on_its_own(each.frame);
    pvm().send(frame);
    if (each.expected != TS_CLASS_SOFT) {
      EXPECT_FALSE(lab_->client_receive(kMoment)) << "nothing may leave before the SVM has sent it";
      svm().send(frame);
    }
    EXPECT_EQ(lab_->client_receive(), frame);
  }
}

TEST_F(PacketTableTest, WaitsForACheckpointWhereTheSvmHasSentOtherBytes) {
  int waited = 0;
  for (const PacketCase& each : packet_table()) {
    SCOPED_TRACE(each.name);
    if (each.name == kNotReceived || each.expected == TS_CLASS_SOFT || each.payload_bytes == 0) continue;
    const Bytes frame = on_its_own(each.frame);
    svm().send(with_last_bit_flipped(frame, each));
    pvm().send(frame);
    EXPECT_FALSE(lab_->client_receive(kMoment));
    checkpoint();
    EXPECT_EQ(lab_->client_receive(), frame);
    ++waited;
  }
  EXPECT_GT(waited, 70);
}

TEST_F(PacketTableTest, ReachesBothVms) {
  for (const PacketCase& each : packet_table()) {
    SCOPED_TRACE(each.name);
    Bytes frame = turned_round(each.frame);
    std::copy_n(reinterpret_cast<const std::byte*>(kClientMac.data()), kClientMac.size(), frame.begin() + 6);
    lab_->client_send(frame);
    EXPECT_EQ(pvm().receive(), frame);
    EXPECT_EQ(svm().receive(), frame);
  }
}

TEST_F(PacketTableTest, WhatIsForAGroupReachesBothVms) {
  int sent = 0;
  for (const PacketCase& each : packet_table()) {
    SCOPED_TRACE(each.name);
    Bytes frame = each.frame;
    if ((frame[0] & std::byte{1}) == std::byte{0}) continue;
    std::copy_n(reinterpret_cast<const std::byte*>(kClientMac.data()), kClientMac.size(), frame.begin() + 6);
    lab_->client_send(frame);
    EXPECT_EQ(pvm().receive(), frame);
    EXPECT_EQ(svm().receive(), frame);
    ++sent;
  }
  EXPECT_GT(sent, 5);
}

}  // namespace
}  // namespace twinstep::test
