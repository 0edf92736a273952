// SPDX-License-Identifier: Apache-2.0
// Frames that are compared as a whole, between two planes: let out by the kernel, or by user space, in order.
#include <array>
#include <thread>

#include "plane_fixture.hpp"

namespace twinstep::test {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds kQuiet{150};
constexpr std::size_t kNumberAt = 42;  // in a datagram over IPv4

Bytes datagram(std::uint8_t number) {
  Bytes payload = pattern(300);
  payload.insert(payload.begin(), static_cast<std::byte>(number));
  return frame_of(Ip{.payload = concat({bytes_of({0x13, 0x88, 0x9c, 0x40, 0x01, 0x35, 0, 0}), payload})});
}

class WholeFramesTest : public ProtectedVmFixture {
 protected:
  /// Datagrams of these numbers.
  static void says(const Guest& guest, unsigned first, unsigned last) {
    for (unsigned number = first; number <= last; ++number) guest.send(datagram(static_cast<std::uint8_t>(number)));
  }
  /// The SVM's; when it returns, their records are there.
  void svm_says(unsigned first, unsigned last) {
    const auto arrived = [this] {
      const auto stats = pvm().plane->stats();
      return stats.xdp.count[TS_COUNT_LINK_MATCHED] + stats.xdp.count[TS_COUNT_LINK_RECORDS];
    };
    for (unsigned number = first; number <= last; ++number) {
      const auto before = arrived();
      says(svm(), number, number);
      for (int i = 0; i < 200 && arrived() == before; ++i) std::this_thread::sleep_for(milliseconds(5));
      ASSERT_GT(arrived(), before);
    }
  }
  void client_hears(unsigned first, unsigned last) {
    for (unsigned number = first; number <= last; ++number) {
      const auto frame = lab_->client_receive();
      ASSERT_TRUE(frame) << number;
      EXPECT_EQ(static_cast<unsigned>(frame->at(kNumberAt)), number);
    }
  }
};

TEST_F(WholeFramesTest, WhatTheSvmHasSaidLeavesByTheKernel) {
  ASSERT_NO_FATAL_FAILURE(svm_says(1, 5));
  says(pvm(), 1, 6);
  client_hears(1, 5);
  EXPECT_FALSE(lab_->client_receive(kQuiet)) << "nothing may leave before the SVM has produced it";
  const auto stats = pvm().plane->stats();
  EXPECT_EQ(stats.xdp.count[TS_COUNT_TAP_TWIN], 5U);
  EXPECT_EQ(stats.compare.frames_in, 6U);
  EXPECT_EQ(stats.compare.frames_released, 5U);
  EXPECT_EQ(stats.compare.frames_held, 1U);
}

TEST_F(WholeFramesTest, ThePvmsEarlierFramesLeaveFirst) {
  says(pvm(), 1, 4);
  EXPECT_FALSE(lab_->client_receive(kQuiet));
  says(svm(), 1, 8);
  says(pvm(), 5, 8);
  client_hears(1, 8);
  ASSERT_NO_FATAL_FAILURE(svm_says(9, 10));
  says(pvm(), 9, 10);
  client_hears(9, 10);
  const auto stats = pvm().plane->stats();
  EXPECT_GE(stats.xdp.count[TS_COUNT_TAP_TWIN], 2U) << "the kernel goes on when nothing waits";
  EXPECT_EQ(stats.compare.frames_in, 10U);
  EXPECT_EQ(stats.compare.frames_released, 10U);
  EXPECT_EQ(stats.compare.frames_held, 0U);
  EXPECT_EQ(stats.record_frames_lost, 0U);
}

TEST_F(WholeFramesTest, ACheckpointEndsWhatTheKernelKnows) {
  ASSERT_NO_FATAL_FAILURE(svm_says(1, 2));
  says(pvm(), 3, 3);
  checkpoint();
  client_hears(3, 3);
  says(pvm(), 1, 2);
  EXPECT_FALSE(lab_->client_receive(kQuiet)) << "the SVM said it in another epoch";
  says(svm(), 1, 2);
  client_hears(1, 2);
}

TEST_F(WholeFramesTest, BeforeTheCommitNothingOfTheNewEpochLeaves) {
  ASSERT_TRUE(svm().plane->standby_stop(2));
  const auto flows = pvm().plane->begin_epoch(2);
  pvm().plane->resume_input();
  svm().plane->standby_begin(2, flows);
  ASSERT_NO_FATAL_FAILURE(svm_says(1, 2));
  says(pvm(), 1, 2);
  EXPECT_FALSE(lab_->client_receive(kQuiet));
  pvm().plane->commit(2);
  client_hears(1, 2);
}

}  // namespace
}  // namespace twinstep::test
