// SPDX-License-Identifier: Apache-2.0
// Who owns the VM: the arbiter's record decides, also when the peer is lost.
#include "machine_fixture.hpp"

namespace twinstep::session {
namespace {

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

}  // namespace
}  // namespace twinstep::session
