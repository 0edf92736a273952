// SPDX-License-Identifier: Apache-2.0
// The SVM rests.
#include "machine_fixture.hpp"

namespace twinstep::session {
namespace {

class RestingTest : public MachineTest {
 protected:
  /// Protected in mode periodic: the first image is committed and registered.
  void protect_at_rest() {
    Config c = config("a", "b");
    c.mode = checkpoint::Mode::periodic;
    machine_ = Machine(c);
    start_solo();
    give(OpProtect{1});
    hear(MessageType::prepared);
    give(LiveSyncDone{});
    EXPECT_TRUE(sent(MessageType::rest_request));
    hear(MessageType::svm_stopped, 1);
    ASSERT_NE(find<PausePrimary>(), nullptr);
    EXPECT_TRUE(find<PausePrimary>()->svm_ran);
    EXPECT_TRUE(find<PausePrimary>()->svm_rests);
    give(PauseDone{1});
    hear(MessageType::committed, 1);
    answer(ArbiterReply::Status::ok, Record{2, "a", "b"});
  }
};

TEST_F(RestingTest, NothingIsComparedAndOutputLeavesByCommits) {
  protect_at_rest();
  EXPECT_EQ(machine_.view().state, State::guarded);
  EXPECT_TRUE(machine_.view().svm_rests);
  EXPECT_NE(find<CommitOutput>(), nullptr);
  EXPECT_EQ(find<CompareFrom>(), nullptr);
  give(Diverged{1, compare::Cause::output});
  now_ += kSecond;
  give(PeerHeard{});
  give(Tick{});
  ASSERT_NE(find<PausePrimary>(), nullptr) << "nothing needs to be asked of a secondary whose SVM rests";
  EXPECT_FALSE(find<PausePrimary>()->svm_ran);
  give(PauseDone{2});
  EXPECT_NE(find<StreamImage>(), nullptr);
  hear(MessageType::committed, 2);
  ASSERT_NE(find<CommitOutput>(), nullptr);
  EXPECT_EQ(find<CommitOutput>()->epoch, 2U);
  EXPECT_EQ(machine_.view().checkpoints_by_cause.at("output"), 1U);
}

TEST_F(RestingTest, OutputThatWaitedDuringACheckpointCausesTheNext) {
  protect_at_rest();
  give(Diverged{1, compare::Cause::output});
  now_ += kSecond;
  give(PeerHeard{});
  give(Tick{});
  give(Diverged{2, compare::Cause::output});  // overtakes PauseDone
  give(PauseDone{2});
  hear(MessageType::committed, 2);
  now_ += kSecond;
  give(PeerHeard{});
  give(Tick{});
  ASSERT_NE(find<PausePrimary>(), nullptr);
  EXPECT_EQ(find<PausePrimary>()->epoch, 3U);
}

TEST_F(RestingTest, OutputThatWaitsOnOneNicDoesNotHideThePressureOnAnother) {
  protect_at_rest();
  give(Diverged{1, compare::Cause::output});
  now_ += kSecond;
  give(PeerHeard{});
  give(Tick{});
  give(Diverged{2, compare::Cause::pressure});
  give(Diverged{2, compare::Cause::output});
  give(PauseDone{2});
  hear(MessageType::committed, 2);
  ASSERT_NE(find<PausePrimary>(), nullptr) << "at once, not after the period";
  EXPECT_EQ(find<PausePrimary>()->epoch, 3U);
}

TEST_F(RestingTest, ModeColoWakesTheSvmByACheckpoint) {
  protect_at_rest();
  give(OpMode{9, checkpoint::Mode::colo});
  ASSERT_NE(find<Reply>(), nullptr);
  EXPECT_TRUE(sent(MessageType::checkpoint_request));
  hear(MessageType::svm_stopped, 2);
  ASSERT_NE(find<PausePrimary>(), nullptr);
  EXPECT_FALSE(find<PausePrimary>()->svm_rests);
  give(PauseDone{2});
  hear(MessageType::committed, 2);
  hear(MessageType::svm_running, 2);
  EXPECT_NE(find<CompareFrom>(), nullptr);
  EXPECT_FALSE(machine_.view().svm_rests);
}

TEST_F(MachineTest, ModePeriodicLetsTheSvmRestFromTheNextImageOn) {
  protect();
  give(OpMode{9, checkpoint::Mode::periodic});
  EXPECT_TRUE(sent(MessageType::rest_request));
  hear(MessageType::svm_stopped, 2);
  give(PauseDone{2});
  hear(MessageType::committed, 2);
  EXPECT_NE(find<CommitOutput>(), nullptr);
  EXPECT_EQ(find<CompareFrom>(), nullptr);
  EXPECT_TRUE(machine_.view().svm_rests);
}

class RestingSecondaryTest : public SecondaryTest {
 protected:
  void stand_by_at_rest() {
    stand_by();
    hear(MessageType::rest_request, 2);
    give(SvmStopDone{2});
    give(ImageReceived{2});
    ASSERT_NE(find<ApplyImage>(), nullptr);
    EXPECT_TRUE(find<ApplyImage>()->svm_rests);
    give(ApplyDone{2});
    EXPECT_FALSE(sent(MessageType::svm_running));
  }
};

TEST_F(RestingSecondaryTest, CommitsImagesThatComeUnasked) {
  stand_by_at_rest();
  give(ImageReceived{3});
  EXPECT_TRUE(sent(MessageType::committed));
  ASSERT_NE(find<ApplyImage>(), nullptr);
  EXPECT_TRUE(find<ApplyImage>()->svm_rests);
}

TEST_F(RestingSecondaryTest, ARequestThatOvertakesTheImageBeforeIsAnsweredAfterIt) {
  stand_by_at_rest();
  give(ImageReceived{3});
  hear(MessageType::checkpoint_request, 4);
  EXPECT_TRUE(effects_.empty());
  give(ApplyDone{3});
  ASSERT_NE(find<StopSvm>(), nullptr);
  EXPECT_EQ(find<StopSvm>()->epoch, 4U);
}

TEST_F(RestingSecondaryTest, WakesTheSvmBeforeItTakesOver) {
  stand_by_at_rest();
  hear(MessageType::primary_gone);
  EXPECT_NE(find<StopStreams>(), nullptr) << "a part of an image may be here";
  ASSERT_NE(find<WakeSvm>(), nullptr);
  EXPECT_EQ(find<WakeSvm>()->epoch, 2U);
  answer(ArbiterReply::Status::ok, protected_);
  answer(ArbiterReply::Status::ok, ours_);
  EXPECT_EQ(find<TakeOver>(), nullptr) << "the SVM isn't awake";
  give(ApplyDone{2});
  EXPECT_NE(find<TakeOver>(), nullptr);
}

TEST_F(RestingSecondaryTest, FinishesTheCommittedImageBeforeItWakes) {
  stand_by_at_rest();
  give(ImageReceived{3});
  hear(MessageType::primary_gone);
  EXPECT_EQ(find<WakeSvm>(), nullptr);
  give(ApplyDone{3});
  ASSERT_NE(find<WakeSvm>(), nullptr);
  EXPECT_EQ(find<WakeSvm>()->epoch, 3U);
}

TEST_F(RestingSecondaryTest, AnImageThatEndsTheRestIsThrownAwayIfItIsIncomplete) {
  stand_by_at_rest();
  hear(MessageType::checkpoint_request, 3);
  give(SvmStopDone{3});
  hear(MessageType::primary_gone);
  EXPECT_NE(find<StopStreams>(), nullptr);
  EXPECT_EQ(find<ResumeSvm>(), nullptr) << "it doesn't run, so it can't be resumed";
  ASSERT_NE(find<WakeSvm>(), nullptr);
  EXPECT_EQ(find<WakeSvm>()->epoch, 2U);
}

TEST_F(RestingSecondaryTest, ABrokenStreamIsToldAndTheSvmIsWokenOnlyToTakeOver) {
  stand_by_at_rest();
  give(StepFailed{Step::receive_image, "cut"});
  EXPECT_TRUE(sent(MessageType::secondary_gone));
  EXPECT_EQ(find<WakeSvm>(), nullptr);
  hear(MessageType::primary_gone);
  EXPECT_NE(find<WakeSvm>(), nullptr);
}

}  // namespace
}  // namespace twinstep::session
