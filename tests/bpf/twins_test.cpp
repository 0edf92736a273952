// SPDX-License-Identifier: Apache-2.0
// Frames that are compared as a whole: the comparison in user space, the shared rules compiled there, and the XDP
// programs must agree (docs/decisions/0028-whole-frames-in-the-kernel.md).
#include <bpf/bpf.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstring>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "bpf/abi/twinstep_twins.h"
#include "core/compare/comparer.hpp"
#include "core/compare/record.hpp"
#include "core/compare/svm_tracker.hpp"
#include "io/xdp/lanes.hpp"
#include "layers.hpp"
#include "program_test.hpp"

namespace twinstep::test {
namespace {

using compare::Comparer;
using compare::Effects;
using compare::Frame;
using compare::WholeIdentity;

constexpr Nanos kNow = 1000 * kSecond;
constexpr std::size_t kSequenceOffset = 14 + offsetof(ts_link_header, sequence);
constexpr std::size_t kPayloadOffset = 42;  // of a datagram over IPv4

Bytes udp(unsigned seed, std::size_t bytes = 100, std::vector<Tag> tags = {}) {
  constexpr Ends kFour{.family = 4};
  return frame_of(kFour, packet_of(Ip4{}, datagram_of(kFour, pattern(bytes, seed))), std::move(tags));
}

Bytes udp_over_6() {
  constexpr Ends kSix{.family = 6};
  return frame_of(kSix, packet_of(Ip6{}, datagram_of(kSix, pattern(50))));
}

Bytes ip(std::uint8_t protocol, std::uint16_t fragment = 0) {
  return frame_of(Ends{}, packet_of(Ip4{.protocol = protocol, .fragment = fragment}, pattern(60, protocol)));
}

Bytes flipped(Bytes frame, std::size_t at) {
  frame.at(at) ^= std::byte{1};
  return frame;
}

Bytes ether(std::uint16_t type, std::size_t bytes) {
  return ethernet(kClientMac, kVmMac, type, pattern(bytes));
}

struct Case {
  std::string name;
  Bytes frame;
  bool leaves;     ///< at once, by all rules
  bool in_kernel;  ///< the programs let it out themselves
};

/// What the SVM has sent before each case.
std::vector<Bytes> said() {
  return {
      udp(1), udp(2),  udp_over_6(),  udp(3, 100, {{.vlan = 7}}), udp(4, 2100), ether(0x0806, 46), ether(0x88cc, 80),
      ip(47), ip(132), ip(17, 0x2000)};
}

std::vector<Case> cases() {
  const Mac group{0x33, 0x33, 0, 0, 0, 1};
  return {
      {"the SVM's very bytes", udp(1), true, true},
      {"the later of two first", udp(2), true, true},
      {"over IPv6", udp_over_6(), true, true},
      {"in a VLAN", udp(3, 100, {{.vlan = 7}}), true, true},
      {"in another VLAN", udp(3, 100, {{.vlan = 8}}), false, false},
      {"in none", udp(3), false, false},
      {"another byte", flipped(udp(1), kPayloadOffset + 50), false, false},
      {"another port", flipped(udp(1), 35), false, false},
      {"another client", flipped(udp(1), 33), false, false},
      {"another IP header", flipped(udp(1), 19), true, true},
      {"a byte more", udp(1, 101), false, false},
      {"a byte less", udp(1, 99), false, false},
      {"what the SVM has not sent", udp(9), false, false},
      {"longer than the programs' digest", udp(4, 2100), true, false},
      {"ARP", ether(0x0806, 46), true, true},
      {"no IP", ether(0x88cc, 80), true, true},
      {"no IP, of another type", ether(0x88cd, 80), false, false},
      {"GRE", ip(47), true, true},
      {"SCTP", ip(132), true, true},
      {"a fragment", ip(17, 0x2000), true, true},
      {"another fragment", ip(17, 0x2001), false, false},
      {"chatter to a group", ethernet(group, kVmMac, 0x88cc, pattern(60)), true, false},
  };
}

class TwinsTest : public ProgramTest {
 protected:
  void SetUp() override {
    ProgramTest::SetUp();
    if (IsSkipped() || HasFatalFailure()) return;
    set_modes(TS_TAP_HOLD, TS_UPLINK_MIRROR);
    set_key(*key_->append_key(), key_->flow_ids());
    auto lanes = io::Lanes::open(lanes_fd());
    ASSERT_TRUE(lanes) << lanes.error().message;
    lanes_ = std::move(*lanes);
    begin();
  }

  void set_key(const ts_append_key& append, const ts_flow_id_key& flow_ids) {
    auto secret = std::make_unique<ts_match_secret>();
    secret->flow_id = flow_ids;
    secret->append = append;
    ASSERT_EQ(bpf_map_update_elem(match_secrets_fd(), &kSlot, secret.get(), BPF_ANY), 0);
  }

  /// A new epoch, committed, in which nobody has said anything.
  void begin() {
    set_epoch(++epoch_, true);
    lanes_->clear(kSlot);
    comparer_.emplace(*key_, compare::Limits{});
    tracker_.emplace(*key_, compare::SvmTracker::Limits{});
    comparer_->begin_epoch(epoch_, kNow);
    tracker_->begin_epoch(epoch_, {});
    comparer_->commit(epoch_, effects_);
    comparer_->svm_running(epoch_, kNow);
    effects_.clear();
  }

  Frame parsed(const Bytes& frame) const { return compare::parse(frame, *key_); }
  ts_record record_of(const Bytes& frame) { return *tracker_->on_frame(parsed(frame)); }

  Bytes records_frame(std::vector<ts_record> records) {
    Bytes frame = link_frame(TS_LINK_RECORDS, std::as_bytes(std::span(records)), epoch_);
    const auto count = static_cast<std::uint16_t>(records.size());
    std::memcpy(&frame[14 + offsetof(ts_link_header, count)], &count, sizeof(count));
    std::memcpy(&frame[kSequenceOffset], &++sequence_, sizeof(sequence_));
    return frame;
  }
  /// The SVM's record of a frame comes by the link. Returns whether user space sees it.
  bool svm_says(const Bytes& frame) { return link(records_frame({record_of(frame)})).action == XDP_REDIRECT; }

  enum class Fate { out, waits, waits_with_twin };
  Fate pvm_says(const Bytes& frame) {
    const Ran ran = tap(frame);
    EXPECT_EQ(ran.action, XDP_REDIRECT);
    EXPECT_EQ(ran.frame, frame);
    if (!ran.meta) return Fate::out;
    return (ran.meta->class_flags >> 4 & TS_META_TWIN) != 0 ? Fate::waits_with_twin : Fate::waits;
  }
  void leaves_user_space(const Bytes& frame) { lanes_->leave(ts_lane(kSlot, parsed(frame).flow_id)); }

  std::unique_ptr<io::Lanes> lanes_;
  std::optional<Comparer> comparer_;
  std::optional<compare::SvmTracker> tracker_;
  Effects effects_;
  std::uint32_t epoch_ = kEpoch;
  std::uint32_t sequence_ = 0;
};

ts_twin twin_of(const Frame& frame) {
  const ts_record record = compare::to_record(WholeIdentity::of(frame));
  ts_twin twin{};
  ts_twin_of_record(&twin, &record);
  return twin;
}

TEST_F(TwinsTest, UserSpaceAndTheProgramsDecideAlike) {
  for (const Case& each : cases()) {
    SCOPED_TRACE(each.name);
    begin();
    const Frame frame = parsed(each.frame);
    for (const Bytes& other : said()) comparer_->on_record(record_of(other), epoch_, kNow, effects_);
    comparer_->on_frame(1, frame, each.frame, kNow, effects_);
    const auto* release = effects_.empty() ? nullptr : std::get_if<compare::Release>(&effects_.front());
    EXPECT_EQ(release != nullptr && release->id == 1, each.leaves);

    auto places = std::make_unique<std::array<ts_twins, TS_TWINS_PLACES>>();
    for (const Bytes& other : said()) {
      const ts_twin twin = twin_of(parsed(other));
      EXPECT_EQ(ts_twins_record(&(*places)[ts_twin_hash(&twin)], epoch_, &twin), 0);
    }
    const ts_twin twin = twin_of(frame);
    const bool rules = frame.cls != TS_CLASS_SOFT && ts_twin_in_reach(twin.bytes) != 0 &&
                       ts_twins_frame(&(*places)[ts_twin_hash(&twin)], epoch_, &twin) != 0;
    EXPECT_EQ(rules, each.in_kernel);

    for (const Bytes& other : said()) EXPECT_EQ(svm_says(other), parsed(other).payload.size() > TS_DIGEST_BYTES_MAX);
    const auto let_out = count(TS_COUNT_TAP_TWIN);
    const auto held = count(TS_COUNT_TAP_HELD);
    EXPECT_EQ(pvm_says(each.frame), each.in_kernel ? Fate::out : Fate::waits);
    EXPECT_EQ(count(TS_COUNT_TAP_TWIN) - let_out, each.in_kernel ? 1U : 0U);
    EXPECT_EQ(count(TS_COUNT_TAP_HELD) - held, each.in_kernel ? 0U : 1U);
  }
}

TEST_F(TwinsTest, ARecordLetsOneFrameOut) {
  EXPECT_FALSE(svm_says(udp(1)));
  EXPECT_FALSE(svm_says(udp(1)));
  EXPECT_EQ(count(TS_COUNT_LINK_MATCHED), 2U);
  EXPECT_EQ(pvm_says(udp(1)), Fate::out);
  EXPECT_EQ(pvm_says(udp(1)), Fate::out);
  EXPECT_EQ(pvm_says(udp(1)), Fate::waits);
}

TEST_F(TwinsTest, ARecordGoesWhereItsFrameWaits) {
  EXPECT_EQ(pvm_says(udp(1)), Fate::waits);
  EXPECT_TRUE(svm_says(udp(1)));
  EXPECT_FALSE(svm_says(udp(1))) << "one is enough";
  EXPECT_EQ(pvm_says(udp(1)), Fate::waits_with_twin) << "the first one isn't gone";
  leaves_user_space(udp(1));
  EXPECT_FALSE(svm_says(udp(2)));
  EXPECT_EQ(pvm_says(udp(2)), Fate::waits_with_twin) << "the second one isn't gone";
  leaves_user_space(udp(1));
  leaves_user_space(udp(2));
  EXPECT_FALSE(svm_says(udp(3)));
  EXPECT_EQ(pvm_says(udp(3)), Fate::out);
}

TEST_F(TwinsTest, AFrameWithItsTwinLeavesUserSpaceAtOnceOrWithTheCommit) {
  set_epoch(epoch_, false);
  EXPECT_FALSE(svm_says(udp(1)));
  const Ran ran = tap(udp(1));
  ASSERT_TRUE(ran.meta);
  const Frame frame = compare::parse(ran.frame, *ran.meta, *key_);
  EXPECT_TRUE(frame.has_twin);

  comparer_->on_frame(1, frame, ran.frame, kNow, effects_);
  EXPECT_EQ(effects_.size(), 1U);
  effects_.clear();
  comparer_->begin_epoch(epoch_ + 1, kNow);
  comparer_->on_frame(2, frame, ran.frame, kNow, effects_);
  EXPECT_TRUE(effects_.empty());
  comparer_->commit(epoch_ + 1, effects_);
  EXPECT_EQ(effects_.size(), 1U);
}

TEST_F(TwinsTest, OfAnotherEpochOrPairingNothingCounts) {
  EXPECT_FALSE(svm_says(udp(1)));
  set_epoch(epoch_ + 100, true);
  EXPECT_EQ(pvm_says(udp(1)), Fate::waits);
  EXPECT_TRUE(svm_says(udp(1))) << "of the old epoch: user space counts it";
  EXPECT_EQ(count(TS_COUNT_LINK_RECORDS), 1U);

  begin();
  EXPECT_FALSE(svm_says(udp(1)));
  ts_flow_id_key others = key_->flow_ids();
  ++others.factor[0][0];
  set_key(*key_->append_key(), others);
  EXPECT_EQ(pvm_says(udp(1)), Fate::waits);
}

TEST_F(TwinsTest, ARecordFrameThatTheLinkDoublesCountsOnce) {
  const Bytes frame = records_frame({record_of(udp(1))});
  EXPECT_EQ(link(frame).action, XDP_DROP);
  EXPECT_EQ(link(frame).action, XDP_DROP);
  EXPECT_EQ(count(TS_COUNT_LINK_MATCHED), 1U);
  EXPECT_EQ(count(TS_COUNT_LINK_STALE), 1U);
  EXPECT_EQ(pvm_says(udp(1)), Fate::out);
  EXPECT_EQ(pvm_says(udp(1)), Fate::waits);
}

TEST_F(TwinsTest, UserSpaceIsToldWhichRecordsOfAFrameAreTakenIn) {
  EXPECT_EQ(pvm_says(udp(2)), Fate::waits);
  const Ran ran = link(records_frame({record_of(udp(1)), record_of(udp(2)), record_of(udp(3))}));
  EXPECT_EQ(ran.action, XDP_REDIRECT);
  ts_record records[3];
  ASSERT_EQ(ran.frame.size(), TS_LINK_OVERHEAD_BYTES + sizeof(records));
  std::memcpy(records, &ran.frame[TS_LINK_OVERHEAD_BYTES], sizeof(records));
  EXPECT_EQ(records[0].type, TS_RECORD_KEPT);
  EXPECT_EQ(records[1].type, TS_RECORD_WHOLE);
  EXPECT_EQ(records[2].type, TS_RECORD_KEPT);
}

TEST_F(TwinsTest, UnderAWeakenedKeyUserSpaceComparesAll) {
  set_key(ts_append_key{}, key_->flow_ids());
  EXPECT_TRUE(svm_says(udp(1)));
  EXPECT_EQ(pvm_says(udp(1)), Fate::waits);
}

TEST_F(TwinsTest, TheSecondarysVmIsNeverMatched) {
  EXPECT_FALSE(svm_says(udp(1)));
  set_modes(TS_TAP_HOLD, TS_UPLINK_CLOSED, true);
  set_epoch(epoch_, true);
  EXPECT_EQ(pvm_says(udp(1)), Fate::waits);
}

/// Few places and many kinds, so that they overflow: each record still meets one frame and no frame waits in vain.
TEST(TwinsRules, EachRecordMeetsOneFrameWhereverTheyMeet) {
  for (unsigned seed = 1; seed <= 200; ++seed) {
    SCOPED_TRACE(seed);
    std::mt19937 random(seed);
    const unsigned kinds = 2 + seed % 20;
    ts_twins twins{};
    std::map<unsigned, int> user;  // records less frames
    std::map<unsigned, int> records, frames, out;
    const auto twin_of_kind = [](unsigned kind) {
      ts_twin twin{};
      twin.digest_lo = kind;
      return twin;
    };
    const auto record = [&](unsigned kind) {
      const ts_twin twin = twin_of_kind(kind);
      ++records[kind];
      if (ts_twins_record(&twins, seed, &twin) != 0 && user[kind]++ < 0) ++out[kind];
    };
    const auto frame = [&](unsigned kind) {
      const ts_twin twin = twin_of_kind(kind);
      ++frames[kind];
      if (ts_twins_frame(&twins, seed, &twin) != 0 || user[kind]-- > 0) ++out[kind];
    };
    for (int step = 0; step < 400; ++step) {
      const auto kind = static_cast<unsigned>(random() % kinds);
      random() % 2 != 0 ? record(kind) : frame(kind);
      ASSERT_LE(out[kind], std::min(records[kind], frames[kind]));
    }
    for (unsigned kind = 0; kind < kinds; ++kind) {
      while (frames[kind] < records[kind]) frame(kind);
      while (records[kind] < frames[kind]) record(kind);
      EXPECT_EQ(out[kind], frames[kind]) << "of kind " << kind;
    }
  }
}

}  // namespace
}  // namespace twinstep::test
