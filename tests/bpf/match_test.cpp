// SPDX-License-Identifier: Apache-2.0
// Whether a frame of the PVM may leave: the comparison in user space, the shared rules compiled there, and the XDP
// programs must agree (docs/decisions/0007-match-in-the-kernel.md).
#include <bpf/bpf.h>

#include <cstddef>
#include <cstring>
#include <list>
#include <memory>
#include <string>
#include <vector>

#include "bpf/abi/twinstep_match.h"
#include "core/compare/comparer.hpp"
#include "core/compare/svm_tracker.hpp"
#include "io/xdp/match_table.hpp"
#include "program_test.hpp"

namespace twinstep::test {
namespace {

using compare::Comparer;
using compare::Effects;
using compare::Frame;

constexpr std::uint32_t kPvmIsn = 0xfffffe00;  // the stream wraps
constexpr std::uint32_t kSvmIsn = 7000;
constexpr std::uint32_t kClientIsn = 2000;
constexpr std::size_t kBytes = 100;  // of a segment
constexpr std::uint16_t kWindow = 500;
constexpr Nanos kNow = 1000 * kSecond;
constexpr std::size_t kSequenceOffset = 14 + offsetof(ts_link_header, sequence);
constexpr std::uint8_t kFin = 0x01;
constexpr std::uint8_t kSynAck = 0x12;
constexpr std::uint8_t kRst = 0x04;
constexpr std::uint8_t kPshAck = 0x18;
constexpr std::uint8_t kUrgAck = 0x30;

const Bytes& stream() {
  static const Bytes bytes = pattern(20 * kBytes);
  return bytes;
}

/// Segment `index` of the stream, as a VM with this initial number sends it.
Tcp segment(std::uint32_t isn, std::size_t index) {
  const auto part = std::span(stream()).subspan(index * kBytes, kBytes);
  return {.seq = isn + 1 + static_cast<std::uint32_t>(index * kBytes),
          .ack = kClientIsn + 1,
          .window = kWindow,
          .payload = Bytes(part.begin(), part.end())};
}

struct Case {
  std::string name;
  Tcp frame;
  bool leaves;     ///< at once and unchanged, by all rules
  bool in_kernel;  ///< the programs let it out themselves
};

Tcp with(Tcp tcp, auto&& change) {
  change(tcp);
  return tcp;
}

/// Segment 0 is out; the SVM has sent 1 to 3, too, and acknowledges what the PVM does.
std::vector<Case> cases() {
  const Tcp next = segment(kPvmIsn, 1);
  const auto two = std::span(stream()).subspan(kBytes, 2 * kBytes);
  std::vector<Case> all{
      {"the SVM's very bytes", next, true, true},
      {"pushed", with(next, [](Tcp& tcp) { tcp.flags = kPshAck; }), true, true},
      {"segmented otherwise, at a boundary", with(next, [&](Tcp& tcp) { tcp.payload = Bytes(two.begin(), two.end()); }),
       true, true},
      {"a pure ACK", with(next, [](Tcp& tcp) { tcp.payload.clear(); }), true, true},
      {"an older ACK", with(next, [](Tcp& tcp) { --tcp.ack; }), true, true},
      {"a smaller window", with(next, [](Tcp& tcp) { --tcp.window; }), true, true},
      {"an ACK beyond the SVM's", with(next, [](Tcp& tcp) { ++tcp.ack, --tcp.window; }), false, false},
      {"a wider window", with(next, [](Tcp& tcp) { ++tcp.window; }), false, false},
      {"another byte", with(next, [](Tcp& tcp) { tcp.payload[50] ^= std::byte{1}; }), false, false},
      {"cut inside the SVM's segment", with(next, [](Tcp& tcp) { tcp.payload.resize(kBytes / 2); }), false, false},
      {"a gap", segment(kPvmIsn, 2), false, false},
      {"beyond what the SVM sent", segment(kPvmIsn, 4), false, false},
      {"a repetition", segment(kPvmIsn, 0), true, false},
      {"a FIN", with(next, [](Tcp& tcp) { tcp.flags |= kFin; }), false, false},
      {"a RST", with(next, [](Tcp& tcp) { tcp.flags = kRst, tcp.payload.clear(); }), false, false},
      {"urgent", with(next, [](Tcp& tcp) { tcp.flags = kUrgAck; }), true, false},
  };
  return all;
}

class MatchTest : public ProgramTest {
 protected:
  void SetUp() override {
    ProgramTest::SetUp();
    if (IsSkipped() || HasFatalFailure()) return;
    set_modes(TS_TAP_HOLD, TS_UPLINK_MIRROR);
    secret_ = std::make_unique<ts_match_secret>();
    secret_->flow_id = key_->flow_ids();
    secret_->append = *key_->append_key();
    ASSERT_EQ(bpf_map_update_elem(match_secrets_fd(), &kSlot, secret_.get(), BPF_ANY), 0);
    auto table = io::MatchTable::open(match_index_fd(), match_flows_fd());
    ASSERT_TRUE(table) << table.error().message;
    table_ = std::move(*table);
    begin();
  }

  Frame parsed(const Bytes& frame) const { return compare::parse(frame, *key_); }

  /// A comparison to which both VMs have sent segment 0, and the SVM 1 to 3.
  void begin() {
    comparer_.emplace(*key_, compare::Limits{.lent_flows_max = 1});
    tracker_.emplace(*key_, compare::SvmTracker::Limits{});
    comparer_->begin_epoch(kEpoch, kNow);
    tracker_->begin_epoch(kEpoch, {});
    comparer_->commit(kEpoch, effects_);
    comparer_->svm_running(kEpoch, kNow);
    for (const std::uint32_t isn : {kPvmIsn, kSvmIsn})
      say(isn, Tcp{.seq = isn, .ack = kClientIsn + 1, .flags = kSynAck, .options = bytes_of({2, 4, 5, 0xb4})});
    for (const std::uint32_t isn : {kPvmIsn, kSvmIsn}) say(isn, segment(isn, 0));
    for (std::size_t index = 1; index <= 3; ++index) say(kSvmIsn, segment(kSvmIsn, index));
    effects_.clear();
  }

  void on_frame(const Bytes& frame) {
    const Bytes& kept = held_.emplace_back(frame);
    comparer_->on_frame(++frames_, parsed(kept), kept, kNow, effects_);
  }

  void say(std::uint32_t isn, const Tcp& tcp) {
    const Bytes frame = frame_of(tcp);
    if (isn == kPvmIsn)
      on_frame(frame);
    else
      comparer_->on_record(record_of(tcp), kEpoch, kNow, effects_);
  }

  ts_record record_of(const Tcp& tcp) { return *tracker_->on_frame(parsed(frame_of(tcp))); }

  /// Whether the comparison lets the frame out at once, as it is.
  bool leaves_user_space(const Tcp& tcp) {
    on_frame(frame_of(tcp));
    const auto* release = effects_.empty() ? nullptr : std::get_if<compare::Release>(&effects_.front());
    return release != nullptr && release->id == frames_ && !release->window;
  }

  /// The connection, in the programs' hands.
  ts_match_flow& lend() {
    const auto offers = comparer_->take_offers();
    EXPECT_EQ(offers.size(), 1U);
    const auto place = table_->take(0);
    ts_match_flow& flow = table_->at(*place);
    flow.owner = TS_MATCH_USER;
    EXPECT_TRUE(comparer_->lend(offers.front(), flow, true));
    EXPECT_TRUE(table_->enter({.flow_id = offers.front(), .slot = kSlot, .reserved = 0}, *place));
    io::MatchTable::lend(flow);
    lent_ = offers.front();
    return flow;
  }

  bool leaves_by_rules(ts_match_flow& flow, const Tcp& tcp) const {
    __u64 acc[TS_DIGEST_LIMBS] = {};
    const auto digest = parsed(frame_of(tcp)).digest;
    constexpr std::uint64_t kLimb = (1U << TS_DIGEST_LIMB_BITS) - 1;
    for (unsigned i = 0; i < TS_DIGEST_LIMBS; ++i)
      acc[i] = static_cast<std::uint64_t>(digest >> (TS_DIGEST_LIMB_BITS * i)) & kLimb;
    const ts_match_segment view{.seq = tcp.seq,
                                .ack = tcp.ack,
                                .window = tcp.window,
                                .flags = tcp.flags,
                                .bytes = static_cast<__u32>(tcp.payload.size())};
    return ts_match_output(&flow, &secret_->append, &view, acc) != 0;
  }

  Bytes records_frame(const ts_record& record, std::uint32_t epoch = kEpoch) {
    Bytes frame = link_frame(TS_LINK_RECORDS, std::as_bytes(std::span(&record, 1)), epoch);
    std::memcpy(&frame[kSequenceOffset], &++sequence_, sizeof(sequence_));
    return frame;
  }

  std::unique_ptr<ts_match_secret> secret_;
  std::unique_ptr<io::MatchTable> table_;
  std::optional<Comparer> comparer_;
  std::optional<compare::SvmTracker> tracker_;
  Effects effects_;
  std::list<Bytes> held_;  // the comparison looks at what it holds
  compare::FrameId frames_ = 0;
  compare::FlowId lent_ = 0;
  std::uint32_t sequence_ = 0;  // of the latest frame of records
};

TEST_F(MatchTest, UserSpaceAndTheProgramsDecideAlike) {
  for (const Case& each : cases()) {
    SCOPED_TRACE(each.name);
    begin();
    EXPECT_EQ(leaves_user_space(each.frame), each.leaves);

    begin();
    ts_match_flow& flow = lend();
    auto copy = std::make_unique<ts_match_flow>(flow);
    EXPECT_EQ(leaves_by_rules(*copy, each.frame), each.in_kernel);

    const auto matched = count(TS_COUNT_TAP_MATCHED);
    const auto held = count(TS_COUNT_TAP_HELD);
    const Ran ran = tap(frame_of(each.frame));
    EXPECT_EQ(ran.action, XDP_REDIRECT);
    EXPECT_EQ(ran.meta.has_value(), !each.in_kernel);
    EXPECT_EQ(ran.frame, frame_of(each.frame)) << "it leaves as it is";
    EXPECT_EQ(count(TS_COUNT_TAP_MATCHED) - matched, each.in_kernel ? 1U : 0U);
    EXPECT_EQ(count(TS_COUNT_TAP_HELD) - held, each.in_kernel ? 0U : 1U);
    EXPECT_EQ(flow.owner, each.in_kernel ? TS_MATCH_KERNEL : TS_MATCH_USER) << "any doubt gives it to user space";
    EXPECT_EQ(flow.next, copy->next);
    EXPECT_EQ(flow.cumulative.lo, copy->cumulative.lo);
    EXPECT_EQ(flow.cumulative.hi, copy->cumulative.hi);
  }
}

TEST_F(MatchTest, WhatTheSvmSendsMeanwhileCounts) {
  ts_match_flow& flow = lend();
  EXPECT_EQ(link(records_frame(record_of(segment(kSvmIsn, 4)))).action, XDP_DROP);
  EXPECT_EQ(count(TS_COUNT_LINK_MATCHED), 1U);
  for (std::size_t index = 1; index <= 4; ++index) {
    EXPECT_FALSE(tap(frame_of(segment(kPvmIsn, index))).meta) << index;
  }
  EXPECT_TRUE(tap(frame_of(segment(kPvmIsn, 5))).meta) << "the SVM hasn't";
  EXPECT_EQ(flow.owner, TS_MATCH_USER);
  // From here on user space hears of the SVM, and so do the shared boundaries.
  EXPECT_EQ(link(records_frame(record_of(segment(kSvmIsn, 5)))).action, XDP_REDIRECT);
  EXPECT_EQ(count(TS_COUNT_LINK_RECORDS), 1U);

  comparer_->take_back(lent_, flow, kNow);
  EXPECT_EQ(comparer_->stats().bytes_matched, 5 * kBytes);
  EXPECT_TRUE(leaves_user_space(segment(kPvmIsn, 5))) << "the boundary was in the shared state alone";
  const auto bases = comparer_->begin_epoch(kEpoch + 1, kNow);
  ASSERT_EQ(bases.size(), 1U);
  EXPECT_EQ(bases.front().seq, segment(kPvmIsn, 6).seq);
}

TEST_F(MatchTest, UserSpaceSeesWhatTheProgramsDontKnow) {
  lend();
  const ts_record plain = record_of(segment(kSvmIsn, 4));
  ts_record fin = plain;
  fin.flags |= TS_RECORD_FIN;
  ts_record reset = plain;
  reset.flags |= TS_RECORD_RST;
  ts_record based_otherwise = plain;
  ++based_otherwise.base;
  ts_record of_another = plain;
  ++of_another.flow_id;
  ts_record of_no_kind = plain;
  of_no_kind.type = 9;
  for (const ts_record& record : {fin, reset, based_otherwise, of_another, of_no_kind})
    EXPECT_EQ(link(records_frame(record)).action, XDP_REDIRECT);
  EXPECT_EQ(link(records_frame(plain, kEpoch - 1)).action, XDP_REDIRECT) << "of another epoch";
  EXPECT_EQ(count(TS_COUNT_LINK_MATCHED), 0U);
  EXPECT_TRUE(tap(frame_of(segment(kPvmIsn, 4))).meta) << "none of them counts";
}

TEST_F(MatchTest, EveryWordOfTheDigestCounts) {
  for (const bool high : {false, true}) {
    SCOPED_TRACE(high ? "the high word" : "the low word");
    begin();
    ts_match_flow& flow = lend();
    ts_boundary& boundary = flow.boundaries[flow.tail % TS_MATCH_BOUNDARIES];
    if (high)
      ++boundary.digest_hi;
    else
      ++boundary.digest_lo;
    EXPECT_TRUE(tap(frame_of(segment(kPvmIsn, 1))).meta);
    EXPECT_EQ(flow.owner, TS_MATCH_USER);
  }
}

/// A window of 256 KiB in segments of 1448 bytes.
constexpr std::uint32_t kFarFrames = (256 << 10) / 1448;

TEST_F(MatchTest, AnSvmFarAheadIsUserSpacesToRemember) {
  ts_match_flow& flow = lend();
  ts_record record = record_of(segment(kSvmIsn, 4));
  std::uint32_t kept = 0;
  while (link(records_frame(record)).action == XDP_DROP) {
    record.seq_next += kBytes;
    ASSERT_LE(++kept, std::uint32_t{TS_MATCH_BOUNDARIES});
  }
  EXPECT_GE(kept, kFarFrames);
  EXPECT_EQ(flow.owner, TS_MATCH_KERNEL);
}

TEST_F(MatchTest, TheSecondarysVmIsNeverMatched) {
  lend();
  set_modes(TS_TAP_HOLD, TS_UPLINK_CLOSED, true);
  EXPECT_TRUE(tap(frame_of(segment(kPvmIsn, 1))).meta);
}

}  // namespace
}  // namespace twinstep::test
