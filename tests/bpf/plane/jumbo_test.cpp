// SPDX-License-Identifier: Apache-2.0
// Frames larger than a page: several AF_XDP buffers each, and every way of theirs goes by user space.
#include <gmock/gmock.h>

#include <array>
#include <condition_variable>
#include <mutex>
#include <thread>

#include "io/xsk/umem.hpp"
#include "plane_fixture.hpp"

namespace twinstep::test {
namespace {

constexpr std::array<Mac, 1> kMacs{kVmMac};
constexpr std::size_t kLarge = 8900;

class JumboTest : public PlaneFixture {
 protected:
  JumboTest() { options_.mtu = 9000; }
  void SetUp() override {
    PlaneFixture::SetUp();
    if (IsSkipped() || HasFatalFailure()) return;
    constexpr std::array<std::uint32_t, 1> kOneFrame{1};
    if (const auto umem = io::Umem::create(kOneFrame, true); !umem) GTEST_SKIP() << umem.error().message;
    start('a', a_, kMacs, [this](std::size_t /*vm*/, const compare::Diverged& diverged) {
      const std::lock_guard lock(mutex_);
      diverged_ = diverged;
      has_diverged_.notify_all();
    });
    start('b', b_, kMacs);
    if (HasFatalFailure()) return;
    pair(a_, b_, 0);
    a().plane->direct();
    b().plane->standby();
    checkpoint(1, a(), b());
  }
  Guest& a() { return a_.guests[0]; }
  Guest& b() { return b_.guests[0]; }

  static Bytes from_client(std::uint32_t seq, std::size_t bytes = kLarge) {
    return frame_of(Tcp{.from_vm = false, .seq = seq, .payload = pattern(bytes, seq)});
  }
  static Bytes said(std::uint32_t number, std::size_t bytes = kLarge) {
    return frame_of(Ip{.payload = pattern(bytes, number)});
  }

  std::mutex mutex_;
  std::condition_variable has_diverged_;
  std::optional<compare::Diverged> diverged_;
  Host a_, b_;
};

TEST_F(JumboTest, InputReachesBothWholeAndInOrderThroughTheGate) {
  const auto free_before = a().plane->stats().umem_free;
  std::vector<Bytes> sent;
  const auto send = [&](std::size_t bytes) {
    sent.push_back(from_client(static_cast<std::uint32_t>(sent.size() + 1), bytes));
    lab_->client_send(sent.back());
  };
  for (const std::size_t bytes : {kLarge, std::size_t{10}, std::size_t{3700}, std::size_t{4000}, kLarge}) send(bytes);
  std::size_t next = 0;
  const auto expect_both = [&](std::size_t until) {
    for (; next < until; ++next) {
      EXPECT_EQ(a().receive(), sent[next]) << next;
      EXPECT_EQ(b().receive(), sent[next]) << next;
    }
  };
  expect_both(5);
  ASSERT_TRUE(b().plane->standby_stop(2));
  const auto flows = a().plane->begin_epoch(2);
  send(kLarge);
  send(20);
  EXPECT_FALSE(a().receive(kQuiet)) << "the gate is shut";
  EXPECT_FALSE(b().receive(kQuiet));
  a().plane->resume_input();
  a().plane->commit(2);
  b().plane->standby_begin(2, flows);
  send(kLarge);
  expect_both(8);
  EXPECT_EQ(a().plane->stats().umem_free, free_before);
  EXPECT_EQ(a().plane->stats().frames_unsent, 0U);
}

TEST_F(JumboTest, OutputLeavesWholeOnceTheSvmAgrees) {
  const auto free_before = a().plane->stats().umem_free;
  for (const std::size_t bytes : {kLarge, std::size_t{2500}, std::size_t{100}, std::size_t{3900}}) {
    a().send(said(1, bytes));
    EXPECT_FALSE(lab_->client_receive(kQuiet)) << bytes;
    b().send(said(1, bytes));
    EXPECT_EQ(lab_->client_receive(), said(1, bytes)) << bytes;
  }
  EXPECT_EQ(a().plane->stats().umem_free, free_before);
  EXPECT_EQ(a().plane->stats().xdp.count[TS_COUNT_TAP_ERROR], 0U);
}

TEST_F(JumboTest, AByteInTheLastBufferDiverges) {
  const Bytes stream = pattern(kLarge);
  Bytes flipped = stream;
  flipped[kLarge - 1] ^= std::byte{1};
  const auto segment = [](const Bytes& payload) { return frame_of(Tcp{.seq = 1, .payload = payload}); };
  a().send(segment(stream));
  b().send(segment(flipped));
  std::unique_lock lock(mutex_);
  has_diverged_.wait_for(lock, std::chrono::seconds(3), [this] { return diverged_.has_value(); });
  ASSERT_TRUE(diverged_);
  EXPECT_EQ(diverged_->cause, compare::Cause::content) << diverged_->detail;
  EXPECT_FALSE(lab_->client_receive(kQuiet));
}

TEST_F(JumboTest, TakeOverReplaysWholeFramesAndGoesOnSolo) {
  b().send(said(1));
  b().send(said(2));
  for (int i = 0; i < 200 && b().plane->stats().replay_frames < 2; ++i)
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  a().plane.reset();
  EXPECT_EQ(b().plane->take_over().frames_replayed, 2U);
  std::vector<Bytes> heard;
  while (const auto frame = lab_->client_receive(kQuiet))
    if (frame->size() > 100) heard.push_back(*frame);
  EXPECT_EQ(heard, (std::vector<Bytes>{said(1), said(2)}));
  lab_->client_send(from_client(7));
  EXPECT_EQ(b().receive(), from_client(7));
  b().send(said(3));
  EXPECT_EQ(lab_->client_receive(), said(3));
}

TEST_F(JumboTest, MirroredFramesOfAnOldEpochAreNothingToTheSvm) {
  ASSERT_TRUE(b().plane->standby_stop(2));
  lab_->client_send(from_client(1));
  EXPECT_TRUE(a().receive());
  EXPECT_FALSE(b().receive(kQuiet));
}

TEST_F(JumboTest, TheProofPasses) {
  Result<void> proven;
  lab_->in('a', [&] { proven = a().plane->prove_link(); });
  EXPECT_TRUE(proven) << proven.error().message;
  a().plane->release_all_and_direct();
  lab_->in('a', [&] { proven = a().plane->prove_host(); });
  EXPECT_TRUE(proven) << proven.error().message;
}

}  // namespace
}  // namespace twinstep::test
