// SPDX-License-Identifier: Apache-2.0
// ICMP errors that quote a segment of a connection whose numbers differ.
#include <algorithm>

#include "core/compare/frame.hpp"
#include "layers.hpp"
#include "program_test.hpp"

namespace twinstep::test {
namespace {

constexpr std::uint32_t kDelta = 0xfffe0003;
constexpr std::uint32_t kSeq = 70000;

/// An error that quotes a packet, from a router or the client to the VM, or from the VM.
struct Error {
  Ends ends{.family = 4, .to_vm = true};
  std::vector<Tag> tags{};
  std::size_t quoted_bytes = 1000;  ///< at most
  std::uint16_t fragment = 0;       ///< IPv4's, of the quoted packet
};

Bytes packet_of(Ends ends, const Bytes& segment, std::uint16_t fragment = 0) {
  if (ends.family == 6) return packet_of(Ip6{.ends = ends, .next = 6}, segment);
  return packet_of(Ip4{.ends = ends, .protocol = 6, .fragment = fragment}, segment);
}

Bytes frame_of(const Error& error, const Bytes& segment) {
  Bytes quoted = packet_of({.family = error.ends.family, .to_vm = !error.ends.to_vm}, segment, error.fragment);
  quoted.resize(std::min(quoted.size(), error.quoted_bytes));
  if (error.ends.family == 6)
    return frame_of(error.ends, packet_of(Ip6{.ends = error.ends, .next = 58}, icmp_of(error.ends, 1, 0, quoted)),
                    error.tags);
  return frame_of(error.ends, packet_of(Ip4{.ends = error.ends, .protocol = 1}, icmp_of(error.ends, 3, 0, quoted)),
                  error.tags);
}

/// The VM's segment in one's own numbers.
Bytes vm_segment(unsigned family, std::uint32_t seq) {
  return segment_of({.ends = {.family = family}, .seq = seq, .options = timestamps(5, 6), .payload = pattern(40)});
}

class QuoteTest : public ProgramTest {
 protected:
  Ran mirrored(const Bytes& inner) { return link(link_frame(TS_LINK_MIRROR, inner)); }

  /// The VM's side of the connection in a frame.
  ts_flow_key flow_in(unsigned family, std::vector<Tag> tags = {}) {
    auto flow =
        compare::parse(frame_of(Ends{.family = family}, packet_of(Ends{.family = family}, vm_segment(family, 1)), tags),
                       *key_)
            .flow;
    flow.slot = kSlot;
    return flow;
  }

  /// The error as it is and as it reaches the VM are the same but for the quoted number and the checksums, which are
  /// right: as if the client had quoted a segment with the VM's own number.
  void expect_translated(const Error& error, const Ran& ran) {
    EXPECT_EQ(ran.action, XDP_REDIRECT);
    EXPECT_EQ(ran.frame, frame_of(error, vm_segment(error.ends.family, kSeq + kDelta)));
  }

  static std::vector<Error> errors() {
    const Ends six{.family = 6, .to_vm = true};
    return {
        {},
        {.quoted_bytes = 20 + 8},
        {.quoted_bytes = 20 + 17},
        {.quoted_bytes = 20 + 18},
        {.tags = {{5}}},
        {.tags = {{7, 0x88a8}, {5}}, .quoted_bytes = 20 + 20},
        {.fragment = 0x2000},
        {.ends = six},
        {.ends = six, .quoted_bytes = 40 + 8},
        {.ends = six, .tags = {{5}}, .quoted_bytes = 40 + 30},
    };
  }
};

TEST_F(QuoteTest, TheSecondarysVmIsQuotedItsOwnNumbers) {
  set_modes(TS_TAP_HOLD, TS_UPLINK_CLOSED, true);
  std::uint64_t done = 0;
  for (const Error& error : errors()) {
    SCOPED_TRACE(done);
    set_flow(flow_in(error.ends.family, error.tags), {.seq_delta = kDelta});
    expect_translated(error, mirrored(frame_of(error, vm_segment(error.ends.family, kSeq))));
    EXPECT_EQ(count(TS_COUNT_LINK_REWRITTEN), ++done);
  }
  EXPECT_EQ(count_ends(), done);
}

TEST_F(QuoteTest, OtherErrorsStayAsTheyAre) {
  set_modes(TS_TAP_HOLD, TS_UPLINK_CLOSED, true);
  const auto expect_untouched = [&](const Error& error) {
    const Bytes frame = frame_of(error, vm_segment(error.ends.family, kSeq));
    EXPECT_EQ(mirrored(frame).frame, frame);
  };
  expect_untouched({});
  set_flow(flow_in(4), {.seq_delta = kDelta}, kEpoch - 1);
  expect_untouched({});
  set_flow(flow_in(4), {});
  expect_untouched({});
  set_flow(flow_in(4), {.seq_delta = kDelta});
  expect_untouched({.tags = {{5}}});
  expect_untouched({.quoted_bytes = 20 + 7});
  expect_untouched({.quoted_bytes = 19});
  expect_untouched({.fragment = 0x0003});
  expect_untouched({.ends = {.family = 6, .to_vm = true}});
  EXPECT_EQ(count(TS_COUNT_LINK_REWRITTEN), 0U);
}

TEST_F(QuoteTest, TheSurvivorsVmIsQuotedItsOwnNumbers) {
  for (const auto mode : {TS_UPLINK_DIRECT, TS_UPLINK_MIRROR, TS_UPLINK_GATED}) {
    set_modes(TS_TAP_DIRECT, mode);
    for (const Error& error : errors()) {
      ts_translation translation{};
      translation.seq_delta = kDelta;
      set_translation(flow_in(error.ends.family, error.tags), translation);
      expect_translated(error, uplink(frame_of(error, vm_segment(error.ends.family, kSeq))));
    }
  }
}

/// Each VM quotes the client's segment as it got it: the SVM with an acknowledgement and a TSecr of its own.
TEST_F(QuoteTest, ErrorsThatTheVmsSendAgree) {
  for (const unsigned family : {4U, 6U}) {
    SCOPED_TRACE(family);
    const Ends to_vm{.family = family, .to_vm = true};
    const auto client = [&](std::uint32_t seq) {
      return segment_of({.ends = to_vm, .seq = seq, .options = timestamps(5, 6), .payload = pattern(40)});
    };
    set_modes(TS_TAP_HOLD, TS_UPLINK_CLOSED, true);
    set_flow(flow_in(family), {.seq_delta = kDelta, .ts_delta = 99});
    const Ran given = mirrored(frame_of(to_vm, packet_of(to_vm, client(50))));
    const auto at = static_cast<std::ptrdiff_t>(compare::layout_of(given.frame).transport_offset);
    const Bytes svm_segment(given.frame.begin() + at, given.frame.end());
    ASSERT_NE(svm_segment, client(50));

    for (const std::size_t quoted_bytes : {std::size_t{1000}, std::size_t{family == 6 ? 48U : 28U}}) {
      const Error error{.ends = {.family = family}, .quoted_bytes = quoted_bytes};
      const auto said = [&](const Bytes& segment) {
        const Ran ran = tap(frame_of(error, segment));
        return compare::parse(ran.frame, *ran.meta, *key_);
      };
      const auto primary = said(client(50));
      EXPECT_EQ(primary.cls, TS_CLASS_DATAGRAM);
      EXPECT_EQ(primary.flow_id, said(svm_segment).flow_id);
      EXPECT_TRUE(primary.digest == said(svm_segment).digest);
      EXPECT_FALSE(primary.digest == said(client(51)).digest) << "the client's number is compared";
    }
  }
}

}  // namespace
}  // namespace twinstep::test
