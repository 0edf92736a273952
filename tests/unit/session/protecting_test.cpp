// SPDX-License-Identifier: Apache-2.0
// Becoming protected: attempts, further attempts, and their end.
#include <gmock/gmock.h>

#include "machine_fixture.hpp"

namespace twinstep::session {
namespace {

TEST_F(MachineTest, SynchronisesAnewWhatNoCheckpointCanCarry) {
  for (const bool connected : {true, false}) {
    machine_ = Machine(config("a", "b"));
    pairing_ = 1;
    protect();
    now_ = *machine_.next_deadline();
    hear(MessageType::svm_running, 0);  // it is there
    give(Diverged{1, compare::Cause::pressure});
    hear(MessageType::svm_stopped, 2);
    give(StepFailed{Step::pause_primary, "too large", true});
    EXPECT_EQ(find<ReleaseAll>(), nullptr) << "the secondary may still promote itself";
    ASSERT_NE(find<ArbiterSwap>(), nullptr);
    if (!connected) give(PeerDisconnected{"gone"});
    answer(ArbiterReply::Status::ok, Record{3, "a", ""});
    EXPECT_NE(find<ReleaseAll>(), nullptr);
    EXPECT_EQ(sent(MessageType::prepare), connected);
    EXPECT_EQ(machine_.view().state, connected ? State::syncing : State::solo);
    if (connected) continue;
    EXPECT_FALSE(machine_.next_deadline()) << "nothing to do until it is back";
    give(PeerConnected{});
    now_ = *machine_.next_deadline();
    give(Tick{});
    EXPECT_TRUE(sent(MessageType::prepare));
  }
}

TEST_F(MachineTest, WaitsLongerAndLongerBetweenAttemptsAtProtectingAgain) {
  protect();
  give(Diverged{1, compare::Cause::pressure});
  hear(MessageType::svm_stopped, 2);
  give(StepFailed{Step::pause_primary, "too large", true});
  answer(ArbiterReply::Status::ok, Record{3, "a", ""});
  ASSERT_EQ(machine_.view().state, State::syncing);
  for (const Nanos wait_s : {1, 2, 4, 8, 16, 32, 60, 60}) {
    ++pairing_;
    hear(MessageType::prepared);
    give(LiveSyncDone{});
    hear(MessageType::svm_stopped, 1);
    // One kind of failure is as good as another now.
    give(StepFailed{Step::pause_primary, "too large", wait_s % 2 == 0});
    EXPECT_EQ(machine_.view().state, State::solo);
    EXPECT_EQ(machine_.view().protects_again_at_ns, now_ + wait_s * kSecond);
    ASSERT_EQ(machine_.next_deadline(), now_ + wait_s * kSecond);
    now_ += wait_s * kSecond - 1;
    EXPECT_TRUE(give(Tick{}).empty());
    ++now_;
    give(Tick{});
    EXPECT_TRUE(sent(MessageType::prepare));
    EXPECT_FALSE(machine_.view().protects_again_at_ns);
  }
  EXPECT_EQ(machine_.view().attempts, 9U);
}

TEST_F(MachineTest, AProtectionThatLastedIsNoFailedAttempt) {
  protect();
  std::uint64_t generation = 2;
  for (const bool lasted : {false, true}) {
    now_ += lasted ? 60 * kSecond : 59 * kSecond;
    hear(MessageType::svm_running, 0);
    give(Diverged{1, compare::Cause::pressure});
    hear(MessageType::svm_stopped, 2);
    give(StepFailed{Step::pause_primary, "too large", true});
    answer(ArbiterReply::Status::ok, Record{++generation, "a", ""});
    ASSERT_EQ(machine_.view().state, State::syncing) << "at once";
    EXPECT_EQ(machine_.view().attempts, 1U);
    ++pairing_;
    hear(MessageType::prepared);
    give(LiveSyncDone{});
    hear(MessageType::svm_stopped, 1);
    give(PauseDone{1});
    hear(MessageType::committed, 1);
    answer(ArbiterReply::Status::ok, Record{++generation, "a", "b"});
    hear(MessageType::svm_running, 1);
    ASSERT_EQ(machine_.view().state, State::guarded);
  }
}

TEST_F(MachineTest, AnOperatorEndsTheAttempts) {
  for (const bool cancels : {true, false}) {
    machine_ = Machine(config("a", "b"));
    pairing_ = 1;
    protect();
    give(Diverged{1, compare::Cause::pressure});
    hear(MessageType::svm_stopped, 2);
    give(StepFailed{Step::pause_primary, "too large", true});
    answer(ArbiterReply::Status::ok, Record{3, "a", ""});
    ++pairing_;
    hear(MessageType::refused);
    ASSERT_TRUE(machine_.view().protects_again_at_ns);
    if (cancels) {
      give(OpCancel{2});
    } else {
      give(OpProtect{2});
    }
    EXPECT_EQ(find<Reply>()->error, "");
    EXPECT_EQ(machine_.view().state, cancels ? State::solo : State::syncing);
    EXPECT_FALSE(machine_.view().protects_again_at_ns);
    EXPECT_EQ(machine_.view().attempts, 0U);
    if (cancels) continue;
    ++pairing_;
    hear(MessageType::refused);
    EXPECT_FALSE(machine_.view().protects_again_at_ns) << "what an operator asked for is his to ask again";
  }
}

TEST_F(MachineTest, RefusesToProtectWithoutPeer) {
  give(Boot{true, {}});
  answer(ArbiterReply::Status::ok, Record{1, "a", ""});
  give(VmStarted{});
  give(OpProtect{9});
  ASSERT_NE(find<Reply>(), nullptr);
  EXPECT_THAT(find<Reply>()->error, ::testing::HasSubstr("isn't connected"));
}

TEST_F(MachineTest, FirstOutputLeavesOnlyAfterRegistration) {
  protect_until_committed();
  EXPECT_EQ(find<CommitOutput>(), nullptr);
  ASSERT_NE(find<ArbiterSwap>(), nullptr);
  EXPECT_EQ(find<ArbiterSwap>()->desired, (Record{2, "a", "b"}));
  answer(ArbiterReply::Status::ok, Record{2, "a", "b"});
  EXPECT_NE(find<CommitOutput>(), nullptr);
  EXPECT_TRUE(sent(MessageType::registered));
  EXPECT_EQ(machine_.view().state, State::guarded);
}

TEST_F(MachineTest, ASynchronisationIsCancelledUntilTheFirstPause) {
  start_solo();
  give(OpCancel{5});
  EXPECT_NE(find<Reply>()->error, "") << "there is none";
  give(OpProtect{1});
  hear(MessageType::prepared);
  give(OpCancel{6});
  EXPECT_EQ(find<Reply>()->error, "");
  EXPECT_NE(find<StopStreams>(), nullptr);
  EXPECT_TRUE(sent(MessageType::abort));
  EXPECT_EQ(machine_.view().state, State::solo);
  give(OpProtect{7});
  EXPECT_EQ(find<Reply>()->error, "") << "and may begin anew";
}

TEST_F(MachineTest, AProtectedVmHasNothingToCancel) {
  protect_until_committed();
  give(OpCancel{5});
  EXPECT_NE(find<Reply>()->error, "");
  EXPECT_FALSE(sent(MessageType::abort));
}

}  // namespace
}  // namespace twinstep::session
