// SPDX-License-Identifier: Apache-2.0
// What TCP may do besides sending bytes in order, each with its negative.
#include <gtest/gtest.h>

#include "pair.hpp"
#include "segments.hpp"

namespace twinstep::compare {
namespace {

using testing::bytes_of;
using testing::data;
using testing::Pair;
using testing::pure_ack;
using TestSegment = testing::Segment;

constexpr std::uint8_t kUrg = 0x20;
constexpr std::uint8_t kEce = 0x40;
constexpr std::uint8_t kCwr = 0x80;

TestSegment syn(std::uint32_t isn) {
  return {.seq = isn, .flags = kSyn, .mss = 1460};
}
TestSegment syn_ack(std::uint32_t isn, std::uint32_t ack) {
  return {.seq = isn, .ack = ack, .flags = kSyn | kAck, .mss = 1460};
}
/// Both VMs have sent "hello" from 100 on, and it went out.
Pair said_hello() {
  Pair pair;
  pair.svm(data(100, "hello", 10));
  pair.pvm(data(100, "hello", 10));
  return pair;
}

TEST(SimultaneousOpen, SynThenSynAckAreOneConnection) {
  Pair pair;
  const auto dialled = pair.pvm(syn(1000));
  pair.svm(syn(5000));
  EXPECT_TRUE(pair.is_out(dialled));
  const auto answered = pair.pvm(syn_ack(1000, 78));
  EXPECT_FALSE(pair.is_out(answered)) << "the SVM has not seen the client's SYN";
  pair.svm(syn_ack(5000, 78));
  EXPECT_TRUE(pair.is_out(answered));
  pair.svm(data(5001, "hi", 78));
  EXPECT_TRUE(pair.is_out(pair.pvm(data(1001, "hi", 78))));
  EXPECT_FALSE(pair.diverged().has_value());
}

TEST(SimultaneousOpen, OneVmMayHaveDialledAndTheOtherAnswered) {
  Pair pair;
  const auto answered = pair.pvm(syn_ack(1000, 78));
  pair.svm(syn(5000));
  EXPECT_FALSE(pair.is_out(answered));
  pair.svm(syn_ack(5000, 78));
  EXPECT_TRUE(pair.is_out(answered));
}

TEST(KeepAlive, OneNumberBeforeTheNextWithoutBytes) {
  Pair pair = said_hello();
  EXPECT_TRUE(pair.is_out(pair.pvm(pure_ack(104, 10))));
  EXPECT_FALSE(pair.is_out(pair.pvm(pure_ack(104, 11)))) << "the ack rule holds";
}

TEST(KeepAlive, WithAByteThatTheClientHas) {
  Pair pair = said_hello();
  EXPECT_TRUE(pair.is_out(pair.pvm(data(104, "?", 10)))) << "RFC 9293, 3.8.4: its content is of no interest";
  EXPECT_FALSE(pair.is_out(pair.pvm(data(105, "?", 10)))) << "this byte is new";
}

TEST(KeepAlive, OfTheSvmStatesNothingNew) {
  Pair pair = said_hello();
  pair.svm(pure_ack(104, 10));
  pair.svm(data(104, "?", 10));
  pair.svm(data(105, "!", 10));
  EXPECT_TRUE(pair.is_out(pair.pvm(data(105, "!", 10))));
  pair.svm(data(106, "a", 10));
  pair.pvm(data(106, "b", 10));
  EXPECT_EQ(pair.diverged(), Cause::content);
}

TEST(KeepAlive, BeforeTheBaseOfAnEpoch) {
  Pair pair = said_hello();
  pair.checkpoint();
  EXPECT_TRUE(pair.is_out(pair.pvm(pure_ack(104, 10))));
  EXPECT_TRUE(pair.is_out(pair.pvm(data(104, "?", 10))));
  EXPECT_FALSE(pair.diverged().has_value());
}

TEST(WindowProbe, AtAClosedWindowOfTheSvm) {
  Pair pair;
  pair.svm(pure_ack(100, 10, 0));
  EXPECT_EQ(pair.window_of(pair.pvm(pure_ack(100, 10, 500))), 0);
  // The client probes; both VMs answer, the PVM with room.
  EXPECT_EQ(pair.window_of(pair.pvm(pure_ack(100, 10, 500))), 0) << "as long as the SVM has none";
  pair.svm(pure_ack(100, 10, 300));
  EXPECT_EQ(pair.window_of(pair.pvm(pure_ack(100, 10, 500))), 300) << "also if the update was lost";
}

TEST(Repetition, AcrossTheBaseWaitsForItsNewPart) {
  Pair pair = said_hello();
  pair.checkpoint();
  const auto across = pair.pvm(data(102, "llo you", 10));
  EXPECT_FALSE(pair.is_out(across));
  pair.svm(data(105, " you", 10));
  EXPECT_TRUE(pair.is_out(across));
}

TEST(Urgent, PointerAndFlagAreTheVmsOwn) {
  Pair pair;
  TestSegment urgent = data(100, "abc", 10);
  urgent.flags |= kUrg;
  auto frame = testing::encode(urgent);
  frame[14 + 20 + 19] = std::byte{2};
  const auto id = pair.pvm_frame(frame);
  pair.svm(data(100, "ab", 10));
  EXPECT_FALSE(pair.is_out(id));
  pair.svm(data(102, "c", 10));
  EXPECT_TRUE(pair.is_out(id)) << "the SVM cut its segments otherwise";
}

TEST(Urgent, BytesAreComparedAllTheSame) {
  Pair pair;
  TestSegment urgent = data(100, "abc", 10);
  urgent.flags |= kUrg;
  pair.pvm(urgent);
  urgent.payload = bytes_of("abX");
  pair.svm(urgent);
  EXPECT_EQ(pair.diverged(), Cause::content);
}

TEST(Ecn, MarksMayDiffer) {
  Pair pair;
  TestSegment marked = data(100, "abc", 10);
  marked.flags |= kEce | kCwr;
  const auto id = pair.pvm(marked);
  pair.svm(data(100, "abc", 10));
  EXPECT_TRUE(pair.is_out(id));
  marked.seq = 103;
  pair.svm(marked);
  EXPECT_TRUE(pair.is_out(pair.pvm(data(103, "abc", 10))));
  EXPECT_FALSE(pair.diverged().has_value());
}

TEST(FastOpen, DataInTheSynIsPartOfTheStream) {
  Pair pair;
  TestSegment first = syn(1000);
  first.payload = bytes_of("GET");
  const auto id = pair.pvm(first);
  first.seq = 5000;
  pair.svm(first);
  EXPECT_TRUE(pair.is_out(id));
  pair.svm(data(5004, " /", 1));
  EXPECT_TRUE(pair.is_out(pair.pvm(data(1004, " /", 1))));
}

TEST(FastOpen, OnlyOnceTheSvmHasSentIt) {
  Pair pair;
  TestSegment first = syn(1000);
  first.payload = bytes_of("GET");
  const auto id = pair.pvm(first);
  pair.svm(syn(5000));
  EXPECT_FALSE(pair.is_out(id)) << "the SVM's SYN was bare";
  pair.svm(data(5001, "GET", 0));
  EXPECT_TRUE(pair.is_out(id));
}

TEST(FastOpen, OtherDataDiverges) {
  Pair pair;
  TestSegment first = syn(1000);
  first.payload = bytes_of("GET");
  const auto id = pair.pvm(first);
  first.payload = bytes_of("PUT");
  pair.svm(first);
  EXPECT_EQ(pair.diverged(), Cause::content);
  EXPECT_FALSE(pair.is_out(id));
}

TEST(FastOpen, AServersAnswerRidesBehindItsSynAck) {
  Pair pair;
  const auto opened = pair.pvm(syn_ack(1000, 30));
  const auto answer = pair.pvm(data(1001, "200 OK", 30));
  pair.svm(syn_ack(5000, 30));
  EXPECT_TRUE(pair.is_out(opened));
  EXPECT_FALSE(pair.is_out(answer));
  pair.svm(data(5001, "200 OK", 30));
  EXPECT_TRUE(pair.is_out(answer));
}

TEST(Signed, EqualNumbersNeedNoRewriting) {
  for (const int kind : {19, 29}) {
    Pair pair;
    TestSegment opening = syn_ack(1000, 1);
    opening.more_options = {std::byte(kind), std::byte{6}, std::byte{1}, std::byte{2}, std::byte{3}, std::byte{4}};
    pair.svm(opening);
    opening.more_options[3] = std::byte{9};
    EXPECT_TRUE(pair.is_out(pair.pvm(opening))) << "a signature is opaque";
    EXPECT_FALSE(pair.diverged().has_value());
  }
}

TEST(Signed, OtherNumbersTakeACheckpoint) {
  for (const int kind : {19, 29}) {
    Pair pair;
    TestSegment opening = syn_ack(1000, 1);
    opening.more_options = {std::byte(kind), std::byte{6}, std::byte{1}, std::byte{2}, std::byte{3}, std::byte{4}};
    const auto id = pair.pvm(opening);
    opening.seq = 5000;
    pair.svm(opening);
    EXPECT_EQ(pair.diverged(), Cause::content);
    EXPECT_FALSE(pair.is_out(id));
    pair.checkpoint();
    EXPECT_TRUE(pair.is_out(id));
    pair.svm(data(1001, "signed", 1));
    EXPECT_TRUE(pair.is_out(pair.pvm(data(1001, "signed", 1))));
  }
}

TEST(Signed, WithAndWithoutDiverges) {
  Pair pair;
  TestSegment opening = syn_ack(1000, 1);
  pair.svm(opening);
  opening.more_options = {std::byte{19}, std::byte{4}, std::byte{1}, std::byte{2}};
  EXPECT_FALSE(pair.is_out(pair.pvm(opening)));
  EXPECT_EQ(pair.diverged(), Cause::content);
}

TEST(HalfClose, TheVmGoesOnAcknowledging) {
  Pair pair = said_hello();
  pair.svm({.seq = 105, .ack = 10, .flags = kAck | kFin});
  EXPECT_TRUE(pair.is_out(pair.pvm({.seq = 105, .ack = 10, .flags = kAck | kFin})));
  const auto later = pair.pvm(pure_ack(106, 5000));
  EXPECT_FALSE(pair.is_out(later));
  pair.svm(pure_ack(106, 5000));
  EXPECT_TRUE(pair.is_out(later));
}

TEST(HalfClose, AnSvmThatResetsInsteadAcknowledgesNoUpload) {
  Pair pair = said_hello();
  pair.svm({.seq = 105, .ack = 10, .flags = kAck | kFin});
  pair.pvm({.seq = 105, .ack = 10, .flags = kAck | kFin});
  pair.svm({.seq = 106, .flags = kRst});
  EXPECT_FALSE(pair.is_out(pair.pvm(pure_ack(106, 5000)))) << "nobody but the PVM has these bytes";
}

TEST(HalfClose, TheClientsSideOnlyLeavesTheStreamAlone) {
  Pair pair = said_hello();
  pair.svm(pure_ack(105, 11));  // the client's FIN has the number 10
  EXPECT_TRUE(pair.is_out(pair.pvm(pure_ack(105, 11))));
  pair.svm(data(105, " again", 11));
  EXPECT_TRUE(pair.is_out(pair.pvm(data(105, " again", 11))));
}

TEST(Reset, DoesNotOvertakeBytesThatWait) {
  Pair pair = said_hello();
  const auto bytes = pair.pvm(data(105, "more", 10));
  const auto reset = pair.pvm({.seq = 109, .ack = 10, .flags = kAck | kRst});
  pair.svm({.seq = 105, .ack = 10, .flags = kAck | kRst});
  EXPECT_FALSE(pair.is_out(bytes));
  EXPECT_FALSE(pair.is_out(reset)) << "the SVM reset before it sent them";
  pair.checkpoint();
  EXPECT_TRUE(pair.is_out(bytes));
  EXPECT_TRUE(pair.is_out(reset));
}

TEST(Wrap, OfStreamFinAndAcknowledgement) {
  Pair pair;
  pair.svm(syn_ack(0x7ffffff0, 0xfffffff0));
  pair.pvm(syn_ack(0xfffffffc, 0xfffffff0));
  const auto bytes = pair.pvm(data(0xfffffffd, "abcdef", 5));
  const auto end = pair.pvm({.seq = 3, .ack = 6, .flags = kAck | kFin});
  pair.svm(data(0x7ffffff1, "abcdef", 5));
  EXPECT_TRUE(pair.is_out(bytes));
  EXPECT_FALSE(pair.is_out(end));
  pair.svm({.seq = 0x7ffffff7, .ack = 6, .flags = kAck | kFin});
  EXPECT_TRUE(pair.is_out(end));
  EXPECT_FALSE(pair.diverged().has_value());
}

}  // namespace
}  // namespace twinstep::compare
