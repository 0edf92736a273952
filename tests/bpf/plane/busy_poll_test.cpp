// SPDX-License-Identifier: Apache-2.0
// Planes that poll their devices without end, and what they set the devices to meanwhile.
#include <gmock/gmock.h>

#include <array>
#include <fstream>

#include "plane_fixture.hpp"

namespace twinstep::test {
namespace {

constexpr std::array<Mac, 1> kMacs{kVmMac};

class BusyPollTest : public PlaneFixture {
 protected:
  explicit BusyPollTest(bool sysfs = true) {
    options_.queues = 2;
    options_.sysfs = sysfs;
    busy_poll_ = true;
  }
  void SetUp() override {
    PlaneFixture::SetUp();
    if (IsSkipped() || HasFatalFailure()) return;
    start('a', a_, kMacs);
    start('b', b_, kMacs);
    if (HasFatalFailure()) return;
    pair(a_, b_, 0);
    a_.guests[0].plane->direct();
    b_.guests[0].plane->standby();
    checkpoint(1, a_.guests[0], b_.guests[0]);
  }

  void expect_traffic_passes() {
    lab_->client_send(frame_of(Tcp{.from_vm = false, .payload = pattern(10)}));
    EXPECT_TRUE(a_.guests[0].receive());
    EXPECT_TRUE(b_.guests[0].receive());
    const Bytes said = frame_of(Ip{.payload = pattern(100)});
    a_.guests[0].send(said);
    b_.guests[0].send(said);
    EXPECT_EQ(lab_->client_receive(), said);
  }

  /// A device's settings on host a.
  std::array<std::string, 2> deferral(const std::string& device) {
    std::array<std::string, 2> values;
    lab_->in('a', [&] {
      std::ifstream("/sys/class/net/" + device + "/napi_defer_hard_irqs") >> values[0];
      std::ifstream("/sys/class/net/" + device + "/gro_flush_timeout") >> values[1];
    });
    return values;
  }

  Host a_, b_;
};

TEST_F(BusyPollTest, FramesPassAndInterruptsAreDeferredMeanwhile) {
  using ::testing::ElementsAre;
  EXPECT_TRUE(a_.guests[0].plane->nic().busy_poll);
  for (const auto* device : {"uplink0", "link0"}) EXPECT_THAT(deferral(device), ElementsAre("2", "200000")) << device;
  for (int i = 0; i < 20; ++i) expect_traffic_passes();
  RecordProperty("queues_polled", static_cast<int>(a_.guests[0].plane->nic().queues_polled));
  lab_->in('a', [this] { a_.guests.clear(); });
  for (const auto* device : {"uplink0", "link0"}) EXPECT_THAT(deferral(device), ElementsAre("0", "0")) << device;
}

class BusyPollWithoutSysfsTest : public BusyPollTest {
 protected:
  BusyPollWithoutSysfsTest() : BusyPollTest(false) {}
};

TEST_F(BusyPollWithoutSysfsTest, FramesPassThoughInterruptsCannotBeDeferred) {
  EXPECT_TRUE(a_.guests[0].plane->nic().busy_poll);
  expect_traffic_passes();
}

class InterruptTest : public BusyPollTest {
 protected:
  InterruptTest() { busy_poll_ = false; }
};

TEST_F(InterruptTest, NothingIsPolledOrDeferredUnlessAskedFor) {
  expect_traffic_passes();
  EXPECT_FALSE(a_.guests[0].plane->nic().busy_poll);
  EXPECT_EQ(a_.guests[0].plane->nic().queues_polled, 0U);
  EXPECT_EQ(deferral("uplink0")[1], "0");
}

}  // namespace
}  // namespace twinstep::test
