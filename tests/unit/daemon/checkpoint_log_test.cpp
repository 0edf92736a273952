// SPDX-License-Identifier: Apache-2.0
#include "daemon/vm/checkpoint_log.hpp"

#include <gtest/gtest.h>

namespace twinstep::daemon {
namespace {

CheckpointEntry paused_for(Nanos pause_ns, std::uint32_t epoch = 1) {
  CheckpointEntry entry;
  entry.epoch = epoch;
  entry.pause.stop_ns = pause_ns;
  return entry;
}

TEST(CheckpointLog, AnEmptyLogHasNoQuantile) {
  EXPECT_FALSE(CheckpointLog{}.pause_quantile_ns(0.5).has_value());
}

TEST(CheckpointLog, QuantilesAreNearestRanks) {
  CheckpointLog log;
  for (const Nanos pause : {40, 10, 30, 20}) log.add(paused_for(pause));
  EXPECT_EQ(log.pause_quantile_ns(0.5), 20);
  EXPECT_EQ(log.pause_quantile_ns(0.75), 30);
  EXPECT_EQ(log.pause_quantile_ns(1.0), 40);
  EXPECT_EQ(log.pause_quantile_ns(0.0), 10);
}

TEST(CheckpointLog, OnlyTheNewestEntryIsFoundByItsEpoch) {
  CheckpointLog log;
  log.add(paused_for(1, 7));
  log.add(paused_for(1, 8));
  EXPECT_EQ(log.newest(7), nullptr);
  ASSERT_NE(log.newest(8), nullptr);
  EXPECT_EQ(log.newest(8)->epoch, 8U);
}

TEST(CheckpointLog, KeepsABoundedNumber) {
  CheckpointLog log;
  for (std::uint32_t epoch = 0; epoch <= CheckpointLog::kEntriesMax; ++epoch) log.add(paused_for(1, epoch));
  EXPECT_EQ(log.entries().size(), CheckpointLog::kEntriesMax);
  EXPECT_EQ(log.entries().front().epoch, 1U);
}

}  // namespace
}  // namespace twinstep::daemon
