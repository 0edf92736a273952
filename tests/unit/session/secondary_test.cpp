// SPDX-License-Identifier: Apache-2.0
// The secondary's part.
#include "machine_fixture.hpp"

namespace twinstep::session {
namespace {

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
  expect_image();
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

}  // namespace
}  // namespace twinstep::session
