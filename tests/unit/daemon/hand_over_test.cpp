// SPDX-License-Identifier: Apache-2.0
// What other threads leave to a plane's: whoever waits by poll() must neither miss any of it nor wake up for nothing.
#include <gtest/gtest.h>
#include <poll.h>

#include <array>
#include <thread>

#include "daemon/plane/command_queue.hpp"
#include "daemon/plane/local_inbox.hpp"

namespace twinstep::daemon {
namespace {

constexpr int kPatienceMs = 5000;
constexpr int kMany = 20'000;
constexpr int kWakesMax = 2 * kMany;
constexpr std::array<std::byte, 60> kFrame{};

bool is_readable(int fd, int timeout_ms = 0) {
  pollfd entry{fd, POLLIN, 0};
  return ::poll(&entry, 1, timeout_ms) == 1;
}

TEST(CommandQueue, IsReadableWhileThereIsWork) {
  CommandQueue queue;
  int done = 0;
  EXPECT_FALSE(is_readable(queue.fd()));
  for (int i = 0; i < 3; ++i) queue.post([&] { ++done; });
  EXPECT_TRUE(is_readable(queue.fd()));
  queue.run_all();
  EXPECT_EQ(done, 3);
  EXPECT_FALSE(is_readable(queue.fd()));
}

TEST(CommandQueue, NothingIsMissedUnderWay) {
  CommandQueue queue;
  int done = 0;
  std::thread other([&] {
    for (int i = 0; i < kMany; ++i) queue.post([&] { ++done; });
  });
  for (int wakes = 0; done < kMany && wakes < kWakesMax && is_readable(queue.fd(), kPatienceMs); ++wakes)
    queue.run_all();
  other.join();
  EXPECT_EQ(done, kMany);
  EXPECT_FALSE(is_readable(queue.fd()));
}

TEST(LocalInbox, IsReadableWhileThereAreFrames) {
  LocalInbox inbox;
  EXPECT_FALSE(is_readable(inbox.fd()));
  EXPECT_TRUE(inbox.take().empty());
  for (int i = 0; i < 3; ++i) inbox.put(kFrame);
  EXPECT_TRUE(is_readable(inbox.fd()));
  EXPECT_EQ(inbox.take().size(), 3U);
  EXPECT_FALSE(is_readable(inbox.fd()));
}

TEST(LocalInbox, NothingIsMissedUnderWay) {
  LocalInbox inbox;
  std::size_t taken = 0;
  std::thread other([&] {
    for (int i = 0; i < kMany; ++i) inbox.put(kFrame);
  });
  for (int wakes = 0; taken + inbox.dropped() < kMany && wakes < kWakesMax; ++wakes)
    if (is_readable(inbox.fd(), kPatienceMs)) taken += inbox.take().size();
  other.join();
  EXPECT_EQ(taken + inbox.dropped(), kMany);
  EXPECT_FALSE(is_readable(inbox.fd()));
}

}  // namespace
}  // namespace twinstep::daemon
