// SPDX-License-Identifier: Apache-2.0
// PrimaryMemory and SecondaryMemory over a stream, with writes that the test makes.
#include <gtest/gtest.h>

#include <cstring>
#include <future>

#include "memory/primary_memory.hpp"
#include "memory/secondary_memory.hpp"
#include "stream_fixture.hpp"

namespace twinstep::memory::test {
namespace {

constexpr std::size_t kPages = 700;
constexpr std::size_t kEpochBytesMax = 600 * kPageBytes;

/// A VM whose writes are the test's.
class Vm final : public DirtySource {
 public:
  explicit Vm(std::uint64_t seed) : ram(make_ram(kPages, seed)), written_(kPages) {}

  Result<void> arm() override {
    written_.clear();
    return {};
  }
  Result<void> scan(PageBitmap& out) override {
    out |= written_;
    written_.clear();
    return {};
  }
  Result<void> peek(PageBitmap& out) override {
    out |= written_;
    return {};
  }
  bool scans_live() const override { return true; }
  void write(std::size_t page, unsigned char value) {
    std::memset(ram.data() + page * kPageBytes, value, kPageBytes);
    written_.set(page);
  }

  std::vector<std::byte> ram;

 private:
  PageBitmap written_;
};

class MachineMemory : public ::testing::Test {
 protected:
  void SetUp() override {
    ASSERT_TRUE(primary_.start());
    ASSERT_TRUE(secondary_.start());
  }

  template <typename T>
  static T value(Result<T> result) {
    if (!result) throw std::runtime_error(result.error().message);
    return std::move(*result);
  }

  std::future<Result<Received>> receive() {
    return std::async(std::launch::async,
                      [this] { return secondary_.receive(sockets_.right.get(), kTimeout, kTimeout); });
  }

  LiveRound live_round() {
    auto received = receive();
    const auto round = value(primary_.live_round(sender_, 1));
    EXPECT_TRUE(received.get());
    return round;
  }

  StageInfo checkpoint() {
    const auto info = value(primary_.stage(value(secondary_.scan_dirty())));
    const auto stopped = pvm_.ram;
    pvm_.write(3, 0x33);  // runs on while the image is sent
    auto received = receive();
    EXPECT_TRUE(primary_.send_staged(sender_, 1, ++epoch_, {}, {}));
    EXPECT_TRUE(received.get());
    EXPECT_TRUE(secondary_.apply());
    EXPECT_TRUE(svm_.ram == stopped);
    return info;
  }

  Vm pvm_{1};
  Vm svm_{1000};
  PrimaryMemory primary_ = value(PrimaryMemory::create(pvm_.ram, pvm_, kEpochBytesMax));
  SecondaryMemory secondary_ = value(SecondaryMemory::create(svm_.ram, svm_, kEpochBytesMax));
  SocketPair sockets_;
  ImageSender sender_ = value(ImageSender::create(sockets_.left.get(), kTimeout));
  std::uint32_t epoch_ = 0;
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
    const auto info = checkpoint();
    EXPECT_EQ(info.pages_secondary, 2U);
    EXPECT_EQ(info.pages_staged, i == 0 ? 3U : 4U) << "page 3 was written while the image was sent";
  }
}

TEST_F(MachineMemory, AnImageThatIsNotAppliedLeavesTheSvmsWritesToBeUndone) {
  live_round();
  svm_.write(50, 5);
  EXPECT_EQ(value(secondary_.scan_dirty()).count(), 1U);
  EXPECT_FALSE(secondary_.apply()) << "there is none";
  svm_.write(51, 5);
  EXPECT_EQ(value(secondary_.scan_dirty()).count(), 2U);
  checkpoint();
  EXPECT_EQ(value(secondary_.scan_dirty()).count(), 0U);
}

TEST_F(MachineMemory, AnEpochBeyondTheBoundIsRefusedAndNothingForgotten) {
  live_round();
  for (std::size_t page = 0; page < 601; ++page) pvm_.write(page, 6);
  const auto staged = primary_.stage(PageBitmap(kPages));
  ASSERT_FALSE(staged);
  EXPECT_NE(staged.error().message.find("epoch_bytes_max"), std::string::npos) << staged.error().message;
  EXPECT_EQ(live_round().pages_sent, 601U);
  EXPECT_TRUE(svm_.ram == pvm_.ram);
}

TEST_F(MachineMemory, StartForgetsWhatAnEarlierSecondaryHad) {
  live_round();
  ASSERT_TRUE(primary_.start());
  EXPECT_EQ(live_round().pages_sent, kPages);
}

}  // namespace
}  // namespace twinstep::memory::test
