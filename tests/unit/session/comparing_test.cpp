// SPDX-License-Identifier: Apache-2.0
// Protected: what asks for a checkpoint.
#include "machine_fixture.hpp"

namespace twinstep::session {
namespace {

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

}  // namespace
}  // namespace twinstep::session
