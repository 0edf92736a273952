// SPDX-License-Identifier: Apache-2.0
// Every kind of packet through the programs and through user space.
#include <algorithm>

#include "core/compare/frame.hpp"
#include "fuzz/mutate.hpp"
#include "layers.hpp"
#include "packet_table.hpp"
#include "program_test.hpp"

namespace twinstep::test {
namespace {

class TableTest : public ProgramTest {
 protected:
  Ran mirrored(const Bytes& inner) { return link(link_frame(TS_LINK_MIRROR, inner)); }
};

ts_flow_key in_slot(compare::FlowKey flow, std::uint16_t slot) {
  flow.slot = slot;
  return flow;
}

TEST_F(TableTest, ProgramAndUserSpaceSayWhatTheTableSays) {
  set_modes(TS_TAP_HOLD, TS_UPLINK_CLOSED);
  for (const auto& each : packet_table()) {
    SCOPED_TRACE(each.name);
    const Ran ran = tap(each.frame);
    ASSERT_EQ(ran.action, XDP_REDIRECT);
    ASSERT_TRUE(ran.meta);
    EXPECT_EQ(ran.frame, each.frame);
    EXPECT_EQ(ran.meta->class_flags, each.expected);
    EXPECT_EQ(ran.meta->payload_offset, each.payload_offset);
    EXPECT_EQ(ran.meta->payload_bytes, each.payload_bytes);
    EXPECT_EQ(ran.meta->epoch, kEpoch);

    const auto from_meta = compare::parse(ran.frame, *ran.meta, *key_);
    const auto from_frame = compare::parse(each.frame, *key_);
    EXPECT_EQ(from_frame.cls, each.expected);
    EXPECT_EQ(from_meta.cls, each.expected);
    EXPECT_EQ(from_frame.payload.data() - each.frame.data(), static_cast<std::ptrdiff_t>(each.payload_offset));
    EXPECT_EQ(from_frame.payload.size(), each.payload_bytes);
    EXPECT_TRUE(from_meta.digest == from_frame.digest);
    EXPECT_EQ(from_meta.flow, from_frame.flow);
    EXPECT_EQ(from_frame.flow.family, each.family);
    EXPECT_EQ(from_frame.flow.protocol, each.protocol);
    for (std::size_t i = 0; i < 2; ++i)
      EXPECT_EQ(from_frame.flow.vlan[i], i < each.vlans.size() ? each.vlans[i] : 0) << i;
    EXPECT_EQ(compare::layout_of(each.frame).fragment, each.fragment);
  }
}

/// The flow table is the only place where the programs show what they take for a frame's flow.
TEST_F(TableTest, TheProgramsNameFlowsAsUserSpaceDoes) {
  set_modes(TS_TAP_HOLD, TS_UPLINK_CLOSED, true);
  for (const auto& each : packet_table()) {
    SCOPED_TRACE(each.name);
    if (each.expected != TS_CLASS_TCP || each.name.find("syn") != std::string::npos) continue;
    mirrored(turned_round(each.frame));
    EXPECT_TRUE(flow(in_slot(compare::parse(each.frame, *key_).flow, kSlot)));
  }
}

TEST_F(TableTest, EqualPortsInTwoVlansAreTwoFlows) {
  const Bytes packet = packet_of(Ip4{.protocol = 6}, segment_of({.payload = pattern(9)}));
  const auto id = [&](std::vector<Tag> tags) {
    return compare::parse(frame_of(Ends{}, packet, std::move(tags)), *key_).flow_id;
  };
  const std::vector<compare::FlowId> ids = {
      id({}), id({{5}}), id({{6}}), id({{5, 0x88a8}}), id({{5}, {6}}), id({{5, 0x88a8}, {6}}), id({{6}, {5}})};
  for (auto one = ids.begin(); one != ids.end(); ++one) EXPECT_EQ(std::count(ids.begin(), ids.end(), *one), 1);
  EXPECT_EQ(id({{0x6000}}), id({})) << "a priority is no VLAN";
}

TEST_F(TableTest, RewritesEverySegmentThatIsAStreamsAndNoOther) {
  set_modes(TS_TAP_HOLD, TS_UPLINK_CLOSED, true);
  int rewritten = 0;
  for (const auto& each : packet_table()) {
    SCOPED_TRACE(each.name);
    if (each.protocol != 6 || each.name.find("syn") != std::string::npos) continue;
    const Bytes inner = turned_round(each.frame);
    set_flow(in_slot(compare::parse(each.frame, *key_).flow, kSlot), {.seq_delta = 0x10003});
    const Ran ran = mirrored(inner);
    ASSERT_EQ(ran.action, XDP_REDIRECT);
    if (each.expected != TS_CLASS_TCP) {
      EXPECT_EQ(ran.frame, inner);
      continue;
    }
    const ts_packet layout = compare::layout_of(inner);
    EXPECT_EQ(get32(ran.frame, layout.transport_offset + 8), 2000U + 0x10003U);
    const auto packet = std::span(ran.frame).subspan(layout.ip_offset, layout.ip_end - layout.ip_offset);
    EXPECT_TRUE(layers_right(packet, layout.transport_offset - layout.ip_offset, 6));
    ++rewritten;
  }
  EXPECT_GT(rewritten, 20);
}

}  // namespace
}  // namespace twinstep::test
