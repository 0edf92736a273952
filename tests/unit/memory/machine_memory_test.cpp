// SPDX-License-Identifier: Apache-2.0
// PrimaryMemory and SecondaryMemory over a stream, with writes that the test makes.
#include <gtest/gtest.h>

#include <array>
#include <cstring>
#include <functional>
#include <future>

#include "memory/look_pace.hpp"
#include "memory/page_checksums.hpp"
#include "memory/primary_memory.hpp"
#include "memory/secondary_memory.hpp"
#include "stream_fixture.hpp"

namespace twinstep::memory::test {
namespace {

constexpr std::size_t kPages = 6000;
constexpr std::size_t kEpochBytesMax = 5000 * kPageBytes;
constexpr PageHashKey kKey = 99;

/// A VM whose writes are the test's.
class Vm final : public DirtySource {
 public:
  explicit Vm(std::uint64_t seed) : ram(make_ram(kPages, seed)), written_(kPages) {}

  Result<void> arm() override {
    written_.clear();
    return {};
  }
  Result<void> scan(PageBitmap& out) override {
    EXPECT_TRUE(live || stopped) << "its scans lose writes beside a running VM";
    out |= written_;
    written_.clear();
    if (on_scan) on_scan();
    return {};
  }
  Result<void> peek(PageBitmap& out) override {
    out |= written_;
    return {};
  }
  bool scans_live() const override { return live; }

  void write(std::size_t page, unsigned char value) {
    std::memset(ram.data() + page * kPageBytes, value, kPageBytes);
    written_.set(page);
  }
  void write_all(std::size_t first, std::size_t end, unsigned char value) {
    for (std::size_t page = first; page < end; ++page) write(page, value);
  }
  PageBitmap all() const {
    PageBitmap pages(kPages);
    pages.set_all();
    return pages;
  }

  std::vector<std::byte> ram;
  bool live = true;
  bool stopped = false;
  std::function<void()> on_scan;  ///< what the VM does while it is scanned

 private:
  PageBitmap written_;
};

class MachineMemory : public ::testing::Test {
 protected:
  void SetUp() override {
    ASSERT_TRUE(primary_.start());
    primary_.set_present(pvm_.all());
    ASSERT_TRUE(secondary_.start());
    ASSERT_TRUE(secondary_.receive_from(rights_));
  }

  template <typename T>
  static T value(Result<T> result) {
    if (!result) throw std::runtime_error(result.error().message);
    return std::move(*result);
  }

  std::future<Result<Received>> receive() {
    return std::async(std::launch::async, [this] { return secondary_.receive(kTimeout, kTimeout); });
  }

  LiveRound live_round() {
    auto received = receive();
    const auto round = value(primary_.live_round(sender_, 1));
    EXPECT_TRUE(received.get());
    return round;
  }

  struct Done {
    StageInfo staged;
    SentInfo sent;
  };

  /// A checkpoint up to the point where the SVM would load its device state.
  Done checkpoint(std::span<const std::uint64_t> checksums = {}) {
    const auto svm = value(secondary_.scan_dirty());
    EXPECT_TRUE(primary_.prestage(svm));
    if (before_stop_) before_stop_();
    pvm_.stopped = true;
    const auto info = value(primary_.stage(svm));
    const auto stopped = pvm_.ram;
    pvm_.stopped = false;
    pvm_.write(3, 0x33);  // runs on while the image is sent
    auto received = receive();
    const auto sent = value(primary_.send_staged(sender_, 1, ++epoch_, svm, {{}, {}, checksums}));
    EXPECT_TRUE(received.get());
    EXPECT_EQ(sent.pages, secondary_.image().pages());
    EXPECT_TRUE(secondary_.apply());
    EXPECT_TRUE(svm_.ram == stopped);
    return {info, sent};
  }
  Done whole_checkpoint() {
    auto done = checkpoint();
    EXPECT_TRUE(secondary_.finish());
    return done;
  }

  Vm pvm_{1};
  Vm svm_{1000};
  PrimaryMemory primary_ = value(PrimaryMemory::create(pvm_.ram, pvm_, kEpochBytesMax, kKey));
  SecondaryMemory secondary_ = value(SecondaryMemory::create(
      svm_.ram, svm_, [this] { return svm_.all(); }, kEpochBytesMax, kKey));
  std::array<SocketPair, 2> sockets_;
  std::array<int, 2> lefts_{sockets_[0].left.get(), sockets_[1].left.get()};
  std::array<int, 2> rights_{sockets_[0].right.get(), sockets_[1].right.get()};
  ImageSender sender_ = value(ImageSender::create(lefts_, kTimeout));
  std::uint32_t epoch_ = 0;
  std::function<void()> before_stop_;
};

TEST_F(MachineMemory, TheFirstRoundSendsAllTheNextWhatWasWritten) {
  EXPECT_EQ(live_round().pages_sent, kPages);
  EXPECT_TRUE(svm_.ram == pvm_.ram);
  pvm_.write(10, 1);
  pvm_.write(20, 2);
  EXPECT_EQ(live_round().pages_sent, 2U);
  EXPECT_TRUE(svm_.ram == pvm_.ram);
}

TEST_F(MachineMemory, ACheckpointUndoesTheSvmsWrites) {
  live_round();
  for (int i = 0; i < 3; ++i) {
    pvm_.write(100, static_cast<unsigned char>(i));
    pvm_.write(101, 7);
    svm_.write(101, 8);
    svm_.write(102, 9);
    const auto done = whole_checkpoint();
    EXPECT_EQ(done.staged.pages_dirty, i == 0 ? 3U : 4U) << "page 3 was written while the image was sent";
    EXPECT_EQ(done.sent.pages, done.staged.pages_dirty);
  }
}

TEST_F(MachineMemory, WhatBothWroteTheSameIsNotSent) {
  live_round();
  pvm_.write_all(100, 300, 7);
  svm_.write_all(100, 250, 7);
  svm_.write(250, 8);
  svm_.write(5000, 8);
  const auto done = whole_checkpoint();
  EXPECT_EQ(done.staged.pages_dirty, 201U);
  EXPECT_EQ(done.sent.pages, 51U) << "50 that the SVM didn't write the same, and one that only the SVM wrote";
}

TEST_F(MachineMemory, HashesOfAnotherKeyAreOfOtherPages) {
  const auto page = std::span<const std::byte>(pvm_.ram).subspan(kPageBytes, kPageBytes);
  EXPECT_EQ(hash_page(page, 1), hash_page(page, 1));
  EXPECT_FALSE(hash_page(page, 1) == hash_page(page, 2));
}

TEST_F(MachineMemory, ALargeSetIsCopiedBeforeThePauseAndWhatIsWrittenMeanwhileInIt) {
  live_round();
  for (unsigned char i = 1; i < 4; ++i) {
    pvm_.write_all(1000, 4000, i);
    svm_.write_all(3000, 4500, i);
    int scans = 0;
    pvm_.on_scan = [&] {
      if (scans++ == 0) pvm_.write_all(2000, 2400, static_cast<unsigned char>(0x80 + i));
    };
    before_stop_ = [&] { pvm_.write_all(1500, 1510, static_cast<unsigned char>(0x90 + i)); };
    const auto done = whole_checkpoint();
    pvm_.on_scan = nullptr;
    EXPECT_LE(done.staged.pages_copied, 411U);
    EXPECT_GE(done.staged.pages_copied, 10U);
    EXPECT_EQ(done.staged.pages_dirty, i == 1 ? 3500U : 3501U);
    EXPECT_LE(done.sent.pages, 2501U) << "1000 pages are equal";
  }
}

TEST_F(MachineMemory, ASourceWithoutLiveScansIsOnlyScannedInThePause) {
  pvm_.live = false;
  const auto round = live_round();
  EXPECT_FALSE(round.repeatable);
  pvm_.write_all(1000, 3000, 5);
  svm_.write_all(2000, 4500, 5);
  const auto done = whole_checkpoint();
  EXPECT_EQ(done.staged.pages_copied, 2000U) << "what the SVM alone wrote was copied before";
  EXPECT_EQ(done.staged.pages_dirty, 3500U);
  pvm_.write(9, 9);
  whole_checkpoint();
}

TEST_F(MachineMemory, PagesThatDifferedAndRestAreSentAhead) {
  live_round();
  const auto write = [&](unsigned char value) {
    pvm_.write_all(100, 200, value);
    svm_.write_all(100, 200, value);
    pvm_.write_all(200, 240, value);
    svm_.write_all(200, 240, static_cast<unsigned char>(value + 100));
  };
  bool stopped = false;
  const auto ahead = [&] {
    auto received = receive();
    const auto sent = value(primary_.send_ahead(sender_, 1, [&] { return stopped; }));
    if (sent == 0 && !stopped) {  // nothing is on its way
      SpanFeed nothing({}, {});
      EXPECT_TRUE(sender_.send({.kind = ImageKind::ahead, .ram_bytes = pvm_.ram.size()}, nothing, {}));
    }
    EXPECT_TRUE(received.get());
    return sent;
  };
  write(1);
  EXPECT_EQ(ahead(), 0U) << "nothing is known of them";
  EXPECT_EQ(whole_checkpoint().sent.pages, 40U);
  write(2);
  EXPECT_EQ(ahead(), 0U) << "just written";
  stopped = true;
  EXPECT_EQ(ahead(), 0U) << "a checkpoint has begun";
  stopped = false;
  EXPECT_EQ(ahead(), 40U) << "41 differed, page 3 is written all the time";
  const auto before = svm_.ram;
  EXPECT_TRUE(svm_.ram == before) << "what is ahead isn't in the SVM's RAM";
  pvm_.write_all(230, 232, 3);  // newer than what was sent ahead
  pvm_.write(232, 2 + 100);     // now as the SVM's, but not as what was sent ahead
  const auto done = whole_checkpoint();
  EXPECT_EQ(done.staged.pages_dirty, 141U);
  EXPECT_EQ(done.sent.pages, 40U + 3U + 1U);
}

TEST_F(MachineMemory, ANearlyFullEpochIsToldAndSendsNothingAhead) {
  live_round();
  pvm_.write_all(0, 3700, 1);
  const auto before = value(primary_.look());
  EXPECT_FALSE(before.full);
  EXPECT_EQ(before.pages_new, 3700U);
  EXPECT_EQ(before.pages_to_full, 50U);
  EXPECT_EQ(value(primary_.send_ahead(sender_, 1, [] { return false; })), 0U);
  pvm_.write_all(3700, 3800, 1);
  const auto after = value(primary_.look());
  EXPECT_TRUE(after.full);
  EXPECT_EQ(after.pages_new, 100U);
  whole_checkpoint();
  EXPECT_FALSE(value(primary_.look()).full);
}

TEST_F(MachineMemory, TheBoundIsWatchedWithoutLiveScans) {
  pvm_.live = false;
  live_round();
  pvm_.write_all(0, 1000, 1);
  EXPECT_EQ(value(primary_.look()).pages_new, 1000U);
  EXPECT_EQ(value(primary_.send_ahead(sender_, 1, [] { return false; })), 0U);
  pvm_.write_all(1000, 3800, 1);
  const auto seen = value(primary_.look());
  EXPECT_EQ(seen.pages_new, 2800U);
  EXPECT_TRUE(seen.full);
}

TEST_F(MachineMemory, AnImageThatIsNotAppliedLeavesTheSvmsWritesToBeUndone) {
  live_round();
  svm_.write(50, 5);
  EXPECT_EQ(value(secondary_.scan_dirty()).dirty.count(), 1U);
  EXPECT_FALSE(secondary_.apply()) << "there is none";
  svm_.write(51, 5);
  EXPECT_EQ(value(secondary_.scan_dirty()).dirty.count(), 2U);
  whole_checkpoint();
  EXPECT_EQ(value(secondary_.scan_dirty()).dirty.count(), 0U);
}

TEST_F(MachineMemory, WhatALoadWritesIsUndoneAndTold) {
  live_round();
  pvm_.write(5, 1);
  checkpoint();
  svm_.write(60, 1);  // the load; what the page was isn't known this time
  ASSERT_TRUE(secondary_.finish());
  for (unsigned char i = 2; i < 4; ++i) {
    checkpoint();
    const auto before = svm_.ram;
    svm_.write(60, i);
    ASSERT_TRUE(secondary_.finish());
    EXPECT_TRUE(svm_.ram == before);
  }
  EXPECT_TRUE(value(secondary_.scan_dirty()).dirty.test(60));
}

TEST_F(MachineMemory, ComparedMemoryNamesTheFirstPageThatDiffers) {
  live_round();
  pvm_.write(70, 1);
  const auto with_wrong_page = [&](std::size_t page) {
    pvm_.write(3, 0x33);
    auto checksums = page_checksums(pvm_.ram, pvm_.all());
    if (page < kPages) checksums[page] ^= 1;
    checkpoint(checksums);
    return secondary_.finish();
  };
  const auto compared = with_wrong_page(kPages);
  ASSERT_TRUE(compared) << compared.error().message;
  EXPECT_TRUE(*compared);
  const auto wrong = with_wrong_page(71);
  ASSERT_FALSE(wrong);
  EXPECT_EQ(wrong.error().message,
            "the secondary's memory differs from the primary's in 1 pages, the first is page 71");
}

TEST_F(MachineMemory, PagesThatTheSvmHasTakeNoRoomWhenItIsScarce) {
  live_round();
  for (unsigned char i = 1; i < 4; ++i) {
    pvm_.write_all(0, 5900, i);
    svm_.write_all(0, 4000, i);
    svm_.write_all(4000, 5900, static_cast<unsigned char>(100 + i));
    before_stop_ = [&] { pvm_.write_all(10, 20, static_cast<unsigned char>(200 + i)); };
    const auto done = whole_checkpoint();
    EXPECT_EQ(done.staged.pages_dirty, 5900U);
    EXPECT_GE(done.sent.pages, 1910U);
    EXPECT_LE(done.sent.pages, 1912U);
    EXPECT_FALSE(primary_.beyond_bound());
  }
}

TEST_F(MachineMemory, WhatWasSentAheadCountsInTheBound) {
  live_round();
  pvm_.write_all(0, 1200, 1);
  whole_checkpoint();
  pvm_.write_all(0, 1200, 2);
  value(primary_.send_ahead(sender_, 1, [] { return true; }));
  auto received = receive();
  EXPECT_EQ(value(primary_.send_ahead(sender_, 1, [] { return false; })), 1200U);
  EXPECT_TRUE(received.get());
  pvm_.write_all(1200, 5000, 2);
  EXPECT_TRUE(value(primary_.look()).full);
  value(primary_.send_ahead(sender_, 1, [] { return false; }));
  const auto svm = value(secondary_.scan_dirty());
  EXPECT_TRUE(primary_.prestage(svm)) << "3800 and 1200 pages have just room";
  pvm_.write(5000, 1);
  pvm_.stopped = true;
  EXPECT_FALSE(primary_.stage(svm));
  EXPECT_TRUE(primary_.beyond_bound());
}

TEST(LookPace, LooksMoreOftenTheSoonerTheBoundIsReached) {
  LookPace pace;
  const auto look = [&](std::uint64_t found, std::uint64_t to_full) {
    pace.after_look({.pages_new = found, .pages_to_full = to_full}, 100 * kMillisecond);
    return pace.period_ns();
  };
  Nanos last = LookPace::kPeriodMin;
  for (int quiet = 0; quiet < 10; ++quiet) {
    EXPECT_EQ(look(10, 100'000), std::min(2 * last, LookPace::kPeriodMax));
    last = pace.period_ns();
  }
  EXPECT_EQ(last, LookPace::kPeriodMax);
  EXPECT_EQ(look(1'000, 4'000), 200 * kMillisecond);
  EXPECT_EQ(look(1'000, 0), LookPace::kPeriodMin);
  EXPECT_EQ(look(0, 1), 2 * LookPace::kPeriodMin) << "a moment without writes";
}

TEST_F(MachineMemory, AnEpochBeyondTheBoundIsRefusedAndNothingForgotten) {
  live_round();
  pvm_.write_all(0, 5001, 6);
  pvm_.stopped = true;
  const auto staged = primary_.stage({PageBitmap(kPages), {}});
  ASSERT_FALSE(staged);
  EXPECT_NE(staged.error().message.find("epoch_bytes_max"), std::string::npos) << staged.error().message;
  EXPECT_TRUE(primary_.beyond_bound());
  EXPECT_EQ(live_round().pages_sent, 5001U);
  EXPECT_TRUE(svm_.ram == pvm_.ram);
}

TEST_F(MachineMemory, StartForgetsWhatAnEarlierSecondaryHad) {
  live_round();
  ASSERT_TRUE(primary_.start());
  EXPECT_EQ(live_round().pages_sent, kPages);
}

TEST(WritePage, ZerosOfAbsentPagesAreNotWritten) {
  std::vector<std::byte> ram(3 * kPageBytes, std::byte{0xaa});  // would be zeros; here it shows what is written
  PageBitmap absent(3);
  absent.set(1);
  absent.set(2);
  for (PageNumber page = 0; page < 2; ++page) write_zero_page(ram, absent, page);
  EXPECT_EQ(ram[0], std::byte{0});
  EXPECT_EQ(ram[kPageBytes], std::byte{0xaa});
  write_page(ram, absent, 2, std::vector<std::byte>(kPageBytes, std::byte{1}));
  EXPECT_FALSE(absent.test(2)) << "and is written from now on";
}

}  // namespace
}  // namespace twinstep::memory::test
