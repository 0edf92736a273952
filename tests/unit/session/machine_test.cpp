// SPDX-License-Identifier: Apache-2.0
#include "core/session/machine.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

namespace twinstep::session {
namespace {

using failover::ArbiterReply;

/// Drives one machine and keeps the effects of the latest step.
class MachineTest : public ::testing::Test {
 protected:
  static Config config(const char* self, const char* peer) {
    Config c;
    c.self = self;
    c.peer = peer;
    c.home = std::string(self) == "a";
    return c;
  }

  const Effects& give(const Event& event) {
    effects_ = machine_.step(event, now_);
    return effects_;
  }
  const Effects& answer(ArbiterReply::Status status, std::optional<Record> record) {
    return give(ArbiterAnswered{{status, std::move(record)}});
  }
  const Effects& hear(MessageType type, std::uint32_t epoch = 0) {
    return give(MessageReceived{Message{type, 7, pairing_, epoch, "why"}});
  }
  template <typename T>
  const T* find() const {
    const auto it =
        std::find_if(effects_.begin(), effects_.end(), [](const Effect& e) { return std::holds_alternative<T>(e); });
    return it == effects_.end() ? nullptr : &std::get<T>(*it);
  }
  bool sent(MessageType type) const {
    return std::any_of(effects_.begin(), effects_.end(), [type](const Effect& e) {
      const auto* send = std::get_if<Send>(&e);
      return send != nullptr && send->message.type == type;
    });
  }

  void start_solo() {
    give(Boot{true, {}});
    answer(ArbiterReply::Status::ok, Record{1, "a", ""});
    give(VmStarted{});
    give(PeerConnected{});
  }
  void protect_until_committed() {
    start_solo();
    give(OpProtect{1});
    hear(MessageType::prepared);
    give(LiveSyncDone{});
    hear(MessageType::svm_stopped, 1);
    give(PauseDone{1});
    hear(MessageType::committed, 1);
  }
  void protect() {
    protect_until_committed();
    answer(ArbiterReply::Status::ok, Record{2, "a", "b"});
    hear(MessageType::svm_running, 1);
  }

  Machine machine_{config("a", "b")};
  Nanos now_ = kSecond;
  std::uint32_t pairing_ = 1;
  Effects effects_;
};

class SecondaryTest : public MachineTest {
 protected:
  SecondaryTest() { machine_ = Machine(config("b", "a")); }
  void stand_by() {
    give(Boot{true, Record{1, "a", ""}});
    give(PeerConnected{});
    hear(MessageType::prepare);
    give(VmStarted{});
    hear(MessageType::checkpoint_request, 1);
    give(SvmStopDone{1});
    give(ImageReceived{1});
    give(ApplyDone{1});
    hear(MessageType::registered, 1);
  }
  const Record protected_{2, "a", "b"};
  const Record ours_{3, "b", ""};
};

TEST_F(MachineTest, OpensTheGateOnlyUnderItsOwnRecord) {
  give(Boot{true, {}});
  ASSERT_NE(find<ArbiterSwap>(), nullptr);
  EXPECT_EQ(find<StartVm>(), nullptr);
  answer(ArbiterReply::Status::ok, Record{1, "a", ""});
  EXPECT_NE(find<StartVm>(), nullptr);
  EXPECT_EQ(find<OpenGate>(), nullptr);
  give(VmStarted{});
  EXPECT_NE(find<OpenGate>(), nullptr);
  EXPECT_EQ(machine_.view().state, State::solo);
}

TEST_F(MachineTest, DoesNotStartWhatAnotherHostOwns) {
  give(Boot{true, Record{3, "b", ""}});
  EXPECT_TRUE(effects_.empty());
  EXPECT_EQ(machine_.view().state, State::absent);
}

TEST_F(MachineTest, DoesNotRestartWhatThePeerMayHaveTakenOver) {
  give(Boot{true, Record{3, "a", "b"}});
  EXPECT_EQ(find<ArbiterSwap>(), nullptr);
  EXPECT_EQ(find<StartVm>(), nullptr);
}

TEST_F(MachineTest, AsksAgainWhenTheArbiterIsUnreachable) {
  give(Boot{true, {}});
  answer(ArbiterReply::Status::unreachable, {});
  EXPECT_TRUE(effects_.empty());
  ASSERT_TRUE(machine_.next_deadline().has_value());
  now_ = *machine_.next_deadline();
  give(Tick{});
  EXPECT_NE(find<ArbiterSwap>(), nullptr);
}

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

TEST_F(MachineTest, ComparesOnceTheSecondaryRuns) {
  protect();
  ASSERT_NE(find<CompareFrom>(), nullptr);
  EXPECT_EQ(machine_.view().checkpoints, 1U);
}

TEST_F(MachineTest, DivergenceAsksForACheckpointOfThisEpochOnly) {
  protect();
  give(Diverged{0, compare::Cause::content});
  EXPECT_FALSE(sent(MessageType::checkpoint_request));
  give(Diverged{1, compare::Cause::content});
  EXPECT_TRUE(sent(MessageType::checkpoint_request));
}

TEST_F(MachineTest, DivergenceThatOvertakesPauseDoneIsNotForgotten) {
  protect();
  give(Diverged{1, compare::Cause::content});
  hear(MessageType::svm_stopped, 2);
  give(Diverged{2, compare::Cause::pressure});
  give(PauseDone{2});
  hear(MessageType::committed, 2);
  hear(MessageType::svm_running, 2);
  EXPECT_TRUE(sent(MessageType::checkpoint_request));
}

TEST_F(MachineTest, DivergenceThatOvertakesPauseDoneOutlivesAnothersOfTheEpochBefore) {
  protect();
  give(Diverged{1, compare::Cause::content});
  hear(MessageType::svm_stopped, 2);
  give(Diverged{2, compare::Cause::pressure});
  give(Diverged{1, compare::Cause::stall});  // another NIC's
  give(PauseDone{2});
  hear(MessageType::committed, 2);
  hear(MessageType::svm_running, 2);
  EXPECT_TRUE(sent(MessageType::checkpoint_request));
}

TEST_F(MachineTest, EpochLimitAsksForACheckpoint) {
  protect();
  for (int i = 0; i < 1000 && !sent(MessageType::checkpoint_request); ++i) {
    give(PeerHeard{});
    now_ += 20 * kMillisecond;
    give(Tick{});
  }
  EXPECT_TRUE(sent(MessageType::checkpoint_request));
  EXPECT_GE(now_, 11 * kSecond);
}

TEST_F(MachineTest, SilenceHoldsOutputUntilTheArbiterMakesItSolo) {
  protect();
  now_ += 300 * kMillisecond;
  give(Tick{});
  EXPECT_EQ(machine_.view().state, State::fenced);
  EXPECT_EQ(find<ReleaseAll>(), nullptr);
  ASSERT_NE(find<ArbiterSwap>(), nullptr);
  EXPECT_EQ(find<ArbiterSwap>()->expected, (Record{2, "a", "b"}));
  answer(ArbiterReply::Status::ok, Record{3, "a", ""});
  EXPECT_NE(find<ReleaseAll>(), nullptr);
  EXPECT_EQ(machine_.view().state, State::solo);
}

TEST_F(MachineTest, LoserOfTheSwapEndsItsVm) {
  protect();
  give(PeerDisconnected{"reset"});
  answer(ArbiterReply::Status::conflict, Record{3, "b", ""});
  EXPECT_NE(find<ShutGate>(), nullptr);
  EXPECT_NE(find<KillVm>(), nullptr);
  EXPECT_EQ(find<ReleaseAll>(), nullptr);
  EXPECT_EQ(machine_.view().state, State::absent);
}

TEST_F(MachineTest, SwapWhoseAnswerWasLostCountsWhenItIsFoundInForce) {
  protect();
  give(PeerDisconnected{"reset"});
  answer(ArbiterReply::Status::unreachable, {});
  now_ += 100 * kMillisecond;
  give(Tick{});
  ASSERT_NE(find<ArbiterSwap>(), nullptr);
  answer(ArbiterReply::Status::conflict, Record{3, "a", ""});
  EXPECT_NE(find<ReleaseAll>(), nullptr);
}

TEST_F(MachineTest, LossWhileRegisteringWaitsForTheAnswer) {
  protect_until_committed();
  give(PeerDisconnected{"reset"});
  EXPECT_EQ(find<ReleaseAll>(), nullptr);
  answer(ArbiterReply::Status::ok, Record{2, "a", "b"});
  ASSERT_NE(find<ArbiterSwap>(), nullptr);
  EXPECT_EQ(find<ArbiterSwap>()->desired, (Record{3, "a", ""}));
}

TEST_F(MachineTest, DeadPrimaryShutsItsGateBeforeItTellsTheSecondary) {
  protect();
  give(VmDied{"signal 9"});
  ASSERT_TRUE(sent(MessageType::primary_gone));
  EXPECT_TRUE(std::holds_alternative<ShutGate>(effects_.front()));
}

TEST_F(MachineTest, FailoverOfAnUnprotectedVmIsRefused) {
  start_solo();
  give(OpFailover{4});
  ASSERT_NE(find<Reply>(), nullptr);
  EXPECT_FALSE(find<Reply>()->error.empty());
}

TEST_F(MachineTest, AnswerToAQuestionThatWasGivenUpIsNotTakenForTheNext) {
  give(Boot{true, {}});
  give(MessageReceived{Message{MessageType::prepare, 5, 1, 0, ""}});  // refused: starting as primary
  EXPECT_TRUE(sent(MessageType::refused));
  protect();
  give(PeerDisconnected{"reset"});  // claim is asked
  give(MessageReceived{Message{MessageType::taken_over, 3, 1, 0, ""}});
  EXPECT_EQ(machine_.view().state, State::absent);
  answer(ArbiterReply::Status::ok, Record{3, "a", ""});
  EXPECT_EQ(find<ReleaseAll>(), nullptr);
}

TEST_F(SecondaryTest, CommitsBeforeItApplies) {
  give(Boot{true, Record{1, "a", ""}});
  give(PeerConnected{});
  hear(MessageType::prepare);
  give(VmStarted{});
  EXPECT_TRUE(sent(MessageType::prepared));
  hear(MessageType::checkpoint_request, 1);
  give(SvmStopDone{1});
  EXPECT_TRUE(sent(MessageType::svm_stopped));
  give(ImageReceived{1});
  ASSERT_EQ(effects_.size(), 2U);
  EXPECT_TRUE(sent(MessageType::committed));
  EXPECT_TRUE(std::holds_alternative<ApplyImage>(effects_.back()));
}

TEST_F(SecondaryTest, TakesOverOnlyByTheSwap) {
  stand_by();
  hear(MessageType::primary_gone);
  EXPECT_NE(find<ArbiterRead>(), nullptr);
  answer(ArbiterReply::Status::ok, protected_);
  ASSERT_NE(find<ArbiterSwap>(), nullptr);
  EXPECT_EQ(find<TakeOver>(), nullptr);
  answer(ArbiterReply::Status::ok, ours_);
  EXPECT_NE(find<TakeOver>(), nullptr);
  EXPECT_EQ(machine_.view().state, State::solo);
}

TEST_F(SecondaryTest, GivesUpWhenThePrimaryIsSolo) {
  stand_by();
  hear(MessageType::primary_gone);
  answer(ArbiterReply::Status::ok, Record{3, "a", ""});
  EXPECT_EQ(find<TakeOver>(), nullptr);
  EXPECT_NE(find<KillVm>(), nullptr);
}

TEST_F(SecondaryTest, PartialImageIsThrownAway) {
  stand_by();
  hear(MessageType::checkpoint_request, 2);
  give(SvmStopDone{2});
  give(PeerDisconnected{"reset"});
  EXPECT_NE(find<ResumeSvm>(), nullptr);
  now_ += 50 * kMillisecond;
  give(Tick{});
  give(ImageReceived{2});  // too late
  EXPECT_EQ(find<ApplyImage>(), nullptr);
  answer(ArbiterReply::Status::ok, protected_);
  answer(ArbiterReply::Status::ok, ours_);
  EXPECT_NE(find<TakeOver>(), nullptr);
}

TEST_F(SecondaryTest, AnSvmWithoutStateIsNotResumed) {
  give(Boot{true, Record{1, "a", ""}});
  give(PeerConnected{});
  hear(MessageType::prepare);
  give(VmStarted{});
  hear(MessageType::checkpoint_request, 1);
  give(SvmStopDone{1});
  give(StepFailed{Step::receive_image, "cut"});
  EXPECT_TRUE(sent(MessageType::secondary_gone));
  EXPECT_EQ(find<ResumeSvm>(), nullptr);
}

TEST_F(SecondaryTest, CommittedImageIsAppliedBeforeTakingOver) {
  stand_by();
  hear(MessageType::checkpoint_request, 2);
  give(SvmStopDone{2});
  give(ImageReceived{2});
  hear(MessageType::primary_gone);
  answer(ArbiterReply::Status::ok, protected_);
  answer(ArbiterReply::Status::ok, ours_);
  EXPECT_EQ(find<TakeOver>(), nullptr);
  give(ApplyDone{2});
  EXPECT_NE(find<TakeOver>(), nullptr);
}

TEST_F(SecondaryTest, WithoutAnyWholeImageItCannotTakeOver) {
  give(Boot{true, Record{1, "a", ""}});
  give(PeerConnected{});
  hear(MessageType::prepare);
  give(VmStarted{});
  give(PeerDisconnected{"reset"});
  EXPECT_EQ(find<ArbiterRead>(), nullptr);
  EXPECT_NE(find<KillVm>(), nullptr);
}

TEST_F(SecondaryTest, MessagesOfAnEarlierPairingAreIgnored) {
  stand_by();
  give(MessageReceived{Message{MessageType::abort, 1, pairing_ + 1, 0, ""}});
  EXPECT_TRUE(effects_.empty());
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

// ---- The SVM rests --------------------------------------------------------------------------------------------------

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
