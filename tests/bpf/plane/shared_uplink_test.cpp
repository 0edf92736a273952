// SPDX-License-Identifier: Apache-2.0
// Two VMs behind one uplink: each gets what is its own, they reach each other, and one's failover is nothing to the
// other or to the host.
#include <gtest/gtest.h>

#include <atomic>
#include <mutex>
#include <thread>

#include "plane_fixture.hpp"

namespace twinstep::test {
namespace {

using std::chrono::milliseconds;

constexpr Mac kOtherMac{0x52, 0x54, 0, 0, 0, 9};
constexpr std::array<Mac, 2> kMacs{kVmMac, kOtherMac};
/// Frames: more than the packet memory of a VM.
constexpr unsigned kFlood = 40000;

class SharedUplinkTest : public PlaneFixture {
 protected:
  void SetUp() override {
    PlaneFixture::SetUp();
    if (IsSkipped() || HasFatalFailure()) return;
    start('a', a_, kMacs, [this](std::size_t vm, const compare::Diverged& /*diverged*/) { on_diverged(vm); });
    start('b', b_, kMacs);
    if (HasFatalFailure()) return;
    for (Guest& guest : a_.guests) guest.plane->direct();
  }

  /// Host b becomes the VM's secondary.
  void protect(std::size_t vm = 0) {
    pair(a_, b_, vm);
    b_.guests[vm].plane->standby();
    checkpoint(1, a_.guests[vm], b_.guests[vm]);
  }

  /// The plane's thread calls this.
  void on_diverged(std::size_t vm) {
    ++diverged_.at(vm);
    if (vm == 0) stall_.lock(), stall_.unlock();
  }

  static Bytes frame(const Mac& to, const Mac& from, unsigned seed) {
    return ethernet(to, from, 0x88b6, pattern(100, seed));
  }

  std::mutex stall_;  // while it is taken, the first VM's plane waits at its next divergence
  std::array<std::atomic<int>, 2> diverged_{};
  Host a_, b_;  // last: their threads use the above
};

TEST_F(SharedUplinkTest, EachGetsItsOwnAndAllGetWhatIsForAll) {
  for (std::size_t i = 0; i < a_.guests.size(); ++i) {
    const Bytes own = frame(kMacs[i], kClientMac, 5);
    lab_->client_send(own);
    EXPECT_EQ(a_.guests[i].receive(), own);
    EXPECT_FALSE(a_.guests[1 - i].receive(kQuiet));
  }
  const Bytes all = frame(kBroadcast, kClientMac, 6);
  lab_->client_send(all);
  for (const Guest& guest : a_.guests) EXPECT_EQ(guest.receive(), all);
}

TEST_F(SharedUplinkTest, TheVmsReachEachOtherAndTheirBroadcastsGoOutToo) {
  const Bytes direct = frame(kOtherMac, kVmMac, 7);
  a_.guests[0].send(direct);
  EXPECT_EQ(a_.guests[1].receive_from(kVmMac), direct);
  EXPECT_FALSE(lab_->client_receive(kQuiet)) << "what is for a VM of this host has no business on the wire";
  const Bytes all = frame(kBroadcast, kVmMac, 8);
  a_.guests[0].send(all);
  EXPECT_EQ(a_.guests[1].receive_from(kVmMac), all);
  EXPECT_EQ(lab_->client_receive(), all);
}

TEST_F(SharedUplinkTest, AProtectedVmsFramesReachTheOtherOnceReleasedAndItsSecondaryHearsTheOther) {
  protect();
  ASSERT_FALSE(HasFatalFailure());
  const Bytes said = frame(kOtherMac, kVmMac, 9);
  a_.guests[0].send(said);
  EXPECT_FALSE(a_.guests[1].receive_from(kVmMac, kQuiet)) << "held, like anything else that the VM says";
  b_.guests[0].send(said);
  EXPECT_EQ(a_.guests[1].receive_from(kVmMac), said);
  const Bytes answer = frame(kVmMac, kOtherMac, 10);
  a_.guests[1].send(answer);
  EXPECT_EQ(a_.guests[0].receive_from(kOtherMac), answer);
  EXPECT_EQ(b_.guests[0].receive_from(kOtherMac), answer);
}

TEST_F(SharedUplinkTest, AFailoverOfOneIsNothingToTheOtherNorToTheHost) {
  lab_->give_addresses("uplink0");
  ASSERT_EQ(lab_->failure(), "");
  protect();
  ASSERT_FALSE(HasFatalFailure());
  EXPECT_TRUE(lab_->stacks_reach_each_other());
  a_.guests[0].plane.reset();
  b_.guests[0].plane->take_over();
  for (unsigned seed = 20; seed < 30; ++seed) {
    const Bytes to_other = frame(kOtherMac, kClientMac, seed);
    lab_->client_send(to_other);
    EXPECT_EQ(a_.guests[1].receive(), to_other);
  }
  const Bytes moved = frame(kVmMac, kClientMac, 31);
  lab_->client_send(moved);
  EXPECT_EQ(b_.guests[0].receive(), moved);
  EXPECT_TRUE(lab_->stacks_reach_each_other());
}

TEST_F(SharedUplinkTest, AFloodOfOneVmIsNothingToTheOther) {
  for (std::size_t vm = 0; vm < kMacs.size(); ++vm) protect(vm);
  ASSERT_FALSE(HasFatalFailure());
  std::unique_lock stalled(stall_);
  a_.guests[0].plane->set_hold(kMillisecond);  // then a frame without a twin is a divergence
  a_.guests[0].send(frame(kClientMac, kVmMac, 40));
  for (int i = 0; i < 200 && diverged_[0] == 0; ++i) std::this_thread::sleep_for(milliseconds(10));
  ASSERT_EQ(diverged_[0], 1) << "the first VM's plane stands still from here on";

  // Far more than its rings and its memory hold: of its guest, of its twin, and of what the programs leave to it.
  for (unsigned i = 0; i < kFlood; ++i) {
    a_.guests[0].send(frame(kClientMac, kVmMac, 41));
    b_.guests[0].send(frame_of(Tcp{}));
    if (i % (kFlood / 20) != 0) continue;
    // Meanwhile the other VM speaks and is spoken to as always.
    const Bytes said = frame(kClientMac, kOtherMac, i + 1);
    b_.guests[1].send(said);
    a_.guests[1].send(said);
    EXPECT_EQ(lab_->client_receive(std::chrono::seconds(2), kOtherMac), said) << i;
    const Bytes heard = frame(kOtherMac, kClientMac, i + 2);
    lab_->client_send(heard);
    EXPECT_EQ(a_.guests[1].receive(), heard) << i;
    EXPECT_EQ(b_.guests[1].receive(), heard) << i;
  }
  const auto other = a_.guests[1].plane->stats();
  for (const auto& losses : {other.tap_losses, other.uplink_losses, other.link_losses})
    EXPECT_EQ(losses.ring_full + losses.no_chunk + losses.other, 0U);
  EXPECT_EQ(other.record_frames_lost + other.frames_unsent, 0U);
  EXPECT_EQ(diverged_[1], 0);
  stalled.unlock();
  const auto flooded = a_.guests[0].plane->stats();
  EXPECT_GT(flooded.tap_losses.ring_full + flooded.tap_losses.no_chunk, 0U) << "or it was no flood";
  EXPECT_GT(flooded.link_losses.ring_full + flooded.link_losses.no_chunk, 0U) << "or it was no flood";
}

}  // namespace
}  // namespace twinstep::test
