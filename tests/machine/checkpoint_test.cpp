// SPDX-License-Identifier: Apache-2.0
// Checkpoints of a real guest, judged by content: afterwards the SVM's RAM is the PVM's stopped RAM, byte for byte.
#include <gtest/gtest.h>

#include <algorithm>
#include <csignal>
#include <cstring>
#include <optional>
#include <thread>
#include <vector>

#include "pair.hpp"

namespace twinstep::machine_test {
namespace {

using std::chrono::milliseconds;

constexpr std::size_t kEpochBytesMax = 128U << 20;
constexpr int kCheckpoints = 60;

// First page in which the two differ; nothing: they are equal.
std::optional<std::size_t> first_difference(std::span<const std::byte> a, std::span<const std::byte> b) {
  for (std::size_t offset = 0; offset < a.size(); offset += memory::kPageBytes) {
    if (std::memcmp(a.data() + offset, b.data() + offset, memory::kPageBytes) != 0) return offset / memory::kPageBytes;
  }
  return std::nullopt;
}

qemu::VmSpec small_guest(const std::filesystem::path& run_dir, const io::UniqueFd& tap, bool paused) {
  return guest_spec(run_dir, tap, paused);
}

TEST(Checkpoints, SvmRamEqualsPvmRamAndOutlivesIt) {
  if (const auto missing = missing_for_guest()) GTEST_SKIP() << *missing;
  Pair pair(small_guest, kEpochBytesMax);
  ASSERT_TRUE(wait_tick(pair.pvm().run_dir, 1, std::chrono::seconds(60))) << "the guest did not boot";
  EXPECT_EQ(pair.live_sync().front().pages_sent, kGuestBytes / memory::kPageBytes);

  std::vector<std::byte> stopped(kGuestBytes);
  std::uint64_t pages_svm = 0;
  for (int i = 1; i <= kCheckpoints && !HasFailure(); ++i) {
    const auto ram = pair.pvm().ram.bytes();
    const auto measured = pair.checkpoint(
        "meta of epoch " + std::to_string(i), [&] { std::memcpy(stopped.data(), ram.data(), stopped.size()); },
        [&](const char* step) {
          EXPECT_EQ(first_difference(pair.svm().ram.bytes(), stopped), std::nullopt) << step << ", epoch " << i;
        },
        i % 10 == 0);
    EXPECT_LE(measured.sent.pages, measured.pages_dirty);
    pages_svm += measured.pages_svm;
    std::this_thread::sleep_for(milliseconds(100));
  }
  ASSERT_FALSE(HasFailure());
  EXPECT_GT(pages_svm, std::uint64_t{kCheckpoints}) << "the SVM must have run and written, or nothing was tested";

  ASSERT_EQ(::kill(pair.pvm().process.pid(), SIGKILL), 0);
  const auto tick = last_tick(pair.svm().run_dir).value_or(0);
  EXPECT_GT(tick, 0U);
  EXPECT_TRUE(wait_tick(pair.svm().run_dir, tick + 3, std::chrono::seconds(20)))
      << "the SVM stands still at tick " << tick;
  EXPECT_TRUE(pair.pvm().process.kill(kTimeout));
  EXPECT_NE(pair.pvm().process.exit_reason().find("killed by signal 9"), std::string::npos);
}

}  // namespace
}  // namespace twinstep::machine_test
