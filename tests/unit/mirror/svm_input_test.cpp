// SPDX-License-Identifier: Apache-2.0
// What the benchmark's mirrored secondary is given, and when.
#include "svm_input.hpp"

#include <gtest/gtest.h>

#include "packets.hpp"

namespace twinstep::bench {
namespace {

using test::checksums_right;
using test::get32;
using test::pattern;
using test::Tcp;

constexpr std::uint32_t kPvmIsn = 1000;
constexpr std::uint32_t kSvmIsn = 0xfffffff0;
constexpr std::uint32_t kClientIsn = 5000;
constexpr std::uint8_t kSyn = 0x02;
constexpr std::uint8_t kAck = 0x10;
constexpr std::size_t kAckAt = 42;
constexpr std::size_t kWaitingBytesMax = 4000;

Bytes client(std::uint32_t seq, std::uint32_t ack, std::size_t bytes = 0, std::uint8_t flags = kAck) {
  return frame_of(Tcp{.from_vm = false,
                      .seq = kClientIsn + seq,
                      .ack = (flags & kAck) != 0 ? kPvmIsn + ack : 0,
                      .flags = flags,
                      .payload = pattern(bytes)});
}
Bytes svm(std::uint32_t seq, std::uint32_t ack, std::size_t bytes = 0, std::uint8_t flags = kAck) {
  return frame_of(Tcp{.seq = kSvmIsn + seq, .ack = kClientIsn + ack, .flags = flags, .payload = pattern(bytes)});
}

class SvmInputTest : public ::testing::Test {
 protected:
  void client_says(const Bytes& frame) {
    input_.on_client(frame);
    input_.pump();
  }
  void svm_says(const Bytes& frame) {
    input_.on_svm(frame);
    input_.pump();
  }
  void open() {
    client_says(client(0, 0, 0, kSyn));
    svm_says(svm(0, 1, 0, kSyn | kAck));
    client_says(client(1, 1));
    given_.clear();
  }
  /// The only frame given since, which acknowledges so much of the SVM's.
  void expect_given(std::uint32_t ack, std::size_t payload_bytes) {
    ASSERT_EQ(given_.size(), 1U);
    EXPECT_EQ(get32(given_[0], kAckAt), kSvmIsn + ack);
    EXPECT_EQ(given_[0].size(), 54 + payload_bytes);
    EXPECT_TRUE(checksums_right(given_[0]));
    given_.clear();
  }

  bool has_room_ = true;
  std::uint32_t shift_ = 0;
  std::vector<Bytes> given_;
  SvmInput input_{[this](const Bytes& frame) {
                    if (has_room_) given_.push_back(frame);
                    return has_room_;
                  },
                  [this](const ConnectionKey& /*key*/) { return shift_; }, kWaitingBytesMax};
};

TEST_F(SvmInputTest, AnAcknowledgementWaitsForWhatItAcknowledgesInTheSvmsNumbers) {
  client_says(client(0, 0, 0, kSyn));
  EXPECT_EQ(given_, std::vector<Bytes>{client(0, 0, 0, kSyn)});
  given_.clear();
  client_says(client(1, 1, 10));
  EXPECT_TRUE(given_.empty()) << "the SVM has not answered";
  svm_says(svm(0, 1, 0, kSyn | kAck));
  expect_given(1, 10);
}

TEST_F(SvmInputTest, TheSvmIsToldOfWhatItHasSentMeanwhile) {
  open();
  client_says(client(1, 201, 10));
  EXPECT_TRUE(given_.empty());
  svm_says(svm(1, 1, 100));
  expect_given(101, 0);
  svm_says(svm(101, 1, 100));
  expect_given(201, 10);
  EXPECT_EQ(input_.waiting_bytes(), 0U);
}

TEST_F(SvmInputTest, DataBeyondTheSvmsWindowWaits) {
  open();
  client_says(client(1, 1, 500));
  expect_given(1, 500);
  client_says(client(501, 1, 10));
  EXPECT_TRUE(given_.empty());
  svm_says(svm(1, 501));
  expect_given(1, 10);
}

TEST_F(SvmInputTest, AcknowledgementsThatTheLinkProgramChangedAreUndone) {
  shift_ = 777;
  client_says(client(0, 0, 0, kSyn));
  svm_says(svm(0, 1, 0, kSyn | kAck));
  given_.clear();
  client_says(client(1, 1 + shift_));
  expect_given(1, 0);
  svm_says(svm(1, 1, 100));
  client_says(client(1, 101));
  expect_given(101, 0);
}

TEST_F(SvmInputTest, WithoutRoomAtTheSvmAllWaitsInOrder) {
  open();
  has_room_ = false;
  const Bytes other = test::frame_of(test::Ip{.payload = pattern(30)});
  client_says(other);
  client_says(client(1, 1, 10));
  client_says(client(11, 1, 10));
  EXPECT_TRUE(input_.pump());
  has_room_ = true;
  EXPECT_FALSE(input_.pump());
  ASSERT_EQ(given_.size(), 3U);
  EXPECT_EQ(given_[0], other);
  EXPECT_EQ(get32(given_[1], 38), kClientIsn + 1);
  EXPECT_EQ(get32(given_[2], 38), kClientIsn + 11);
  EXPECT_EQ(input_.waiting_bytes(), 0U);
}

TEST_F(SvmInputTest, BeyondItsBoundFramesAreDroppedAndCounted) {
  open();
  has_room_ = false;
  const std::size_t each = client(1, 1, 46).size();
  const std::size_t fit = kWaitingBytesMax / each;
  for (std::uint32_t i = 0; i < 2 * fit; ++i) client_says(client(1 + 46 * i, 1, 46));
  for (std::size_t i = 0; i < 5; ++i) client_says(test::frame_of(test::Ip{.payload = pattern(66)}));
  EXPECT_EQ(input_.dropped(), fit + 5);
  EXPECT_EQ(input_.waiting_bytes(), fit * each);
  EXPECT_EQ(input_.waiting_bytes_peak(), fit * each);
  has_room_ = true;
  EXPECT_FALSE(input_.pump());
  EXPECT_EQ(given_.size(), 500 / 46) << "as much as the SVM's window takes";
}

TEST_F(SvmInputTest, ANewConnectionFreesWhatTheOldOneHeld) {
  open();
  client_says(client(1, 900, 100));
  EXPECT_GT(input_.waiting_bytes(), 0U);
  client_says(client(7000, 0, 0, kSyn));
  EXPECT_EQ(input_.waiting_bytes(), 0U);
  EXPECT_EQ(given_.back(), client(7000, 0, 0, kSyn));
}

TEST(MirrorSegment, AFieldAtAnOddOffsetKeepsTheChecksumRight) {
  Bytes frame =
      frame_of(Tcp{.from_vm = false,
                   .options = test::concat({test::bytes_of({1}), test::timestamps(7, 8), test::bytes_of({1, 1, 1})})});
  const auto segment = parse_segment(frame, false);
  ASSERT_TRUE(segment);
  ASSERT_EQ(segment->tsecr_offset % 2, 1U);
  replace32(frame, *segment, segment->tsecr_offset, 0x12345678);
  EXPECT_EQ(get32(frame, segment->tsecr_offset), 0x12345678U);
  EXPECT_TRUE(checksums_right(frame));
}

TEST(MirrorSegment, WhatIsCutOrNoTcpIsNone) {
  const Bytes frame = client(1, 1, 10);
  EXPECT_TRUE(parse_segment(frame, false));
  for (const std::size_t bytes : {0U, 13U, 33U, 53U})
    EXPECT_FALSE(parse_segment(std::span(frame).first(bytes), false)) << bytes;
  EXPECT_FALSE(parse_segment(test::frame_of(test::Ip{.payload = pattern(40)}), true));
  const Bytes segment(frame.begin() + 34, frame.end());
  for (const int fragment : {0, 0x4000, 0x2000, 0x0001}) {
    const test::Ip ip{.protocol = 6, .fragment = static_cast<std::uint16_t>(fragment), .payload = segment};
    EXPECT_EQ(parse_segment(test::frame_of(ip), true).has_value(), (fragment & 0x3fff) == 0) << fragment;
  }
}

}  // namespace
}  // namespace twinstep::bench
