// SPDX-License-Identifier: Apache-2.0
// Checkpoints of a real guest, judged by content: afterwards the SVM's RAM is the PVM's stopped RAM, byte for byte.
#include <gtest/gtest.h>

#include <algorithm>
#include <csignal>
#include <cstring>
#include <fstream>
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

/// Many checkpoints of a VM under load, each with all pages compared on the secondary before the SVM goes on.
void compare_checkpoints(const Pair::MakeSpec& make_spec, int checkpoints, milliseconds between) {
  Pair pair(make_spec, kEpochBytesMax);
  ASSERT_TRUE(wait_tick(pair.pvm().run_dir, 1, std::chrono::seconds(60))) << "the guest did not boot";
  pair.live_sync();
  std::uint64_t pages_svm = 0;
  for (int i = 0; i < checkpoints; ++i) {
    pages_svm += pair.checkpoint("", {}, {}, true).pages_svm;
    std::this_thread::sleep_for(between);
  }
  EXPECT_GT(pages_svm, static_cast<std::uint64_t>(checkpoints)) << "the SVM must have run and written";
}

TEST(Checkpoints, AThousandLeaveEqualMemories) {
  if (const auto missing = missing_for_guest()) GTEST_SKIP() << *missing;
  compare_checkpoints(small_guest, 1000, milliseconds(5));
}

TEST(Checkpoints, SeveralNodesOfMemoryAreOne) {
  if (const auto missing = missing_for_guest()) GTEST_SKIP() << *missing;
  compare_checkpoints(
      [](const auto& run_dir, const auto& tap, bool paused) {
        auto spec = guest_spec(run_dir, tap, paused);
        spec.memory_nodes = 2;
        return spec;
      },
      20, milliseconds(100));
}

/// So many 2 MiB pages in the host's reserve, for the time of a test.
class HugePages {
 public:
  explicit HugePages(std::size_t pages) : before_(read()) { write(before_ + pages); }
  ~HugePages() { write(before_); }
  HugePages(const HugePages&) = delete;
  HugePages& operator=(const HugePages&) = delete;
  std::size_t reserved() const { return read() - before_; }

 private:
  static constexpr const char* kReserve = "/proc/sys/vm/nr_hugepages";
  static std::size_t read() {
    std::size_t pages = 0;
    std::ifstream(kReserve) >> pages;
    return pages;
  }
  static void write(std::size_t pages) { std::ofstream(kReserve) << pages; }
  std::size_t before_;
};

TEST(Checkpoints, HugePagesAreTracked) {
  if (const auto missing = missing_for_guest()) GTEST_SKIP() << *missing;
  constexpr std::size_t kNeeded = 2 * kGuestBytes / (2U << 20);
  const HugePages reserve(kNeeded);
  if (reserve.reserved() < kNeeded) GTEST_SKIP() << "this host can't reserve " << kNeeded << " pages of 2 MiB";
  compare_checkpoints(
      [](const auto& run_dir, const auto& tap, bool paused) {
        auto spec = guest_spec(run_dir, tap, paused);
        spec.huge_pages = true;
        return spec;
      },
      40, milliseconds(100));
}

}  // namespace
}  // namespace twinstep::machine_test
