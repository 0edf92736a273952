// SPDX-License-Identifier: Apache-2.0
// A VM with two NICs behind one uplink: its planes do everything together.
#include "daemon/plane/planes.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <condition_variable>
#include <cstdlib>
#include <mutex>

#include "plane_fixture.hpp"

namespace twinstep::test {
namespace {

using daemon::Planes;
using testing::ElementsAre;
using testing::UnorderedElementsAre;

constexpr Mac kSecondMac{0x52, 0x54, 0, 0, 0, 9};
constexpr std::array<Mac, 2> kMacs{kVmMac, kSecondMac};
constexpr std::uint16_t kVmId = 7;
constexpr std::uint16_t kEtherType = 0x88b6;
constexpr std::chrono::milliseconds kQuiet{150};

/// A host with the VM, whose guest is played by the test.
struct NicsHost {
  std::unique_ptr<daemon::Fabric> fabric;
  std::vector<Guest> nics;  // with taps alone
  io::MacAddress link_mac{};
  std::unique_ptr<Planes> planes;  // last: it uses the above
};

class PlanesTest : public testing::Test {
 protected:
  void SetUp() override {
    if (::geteuid() != 0) GTEST_SKIP() << "needs root: CAP_NET_ADMIN and CAP_BPF for namespaces and XDP";
    lab_.emplace(NetLab::Options{});
    ASSERT_EQ(lab_->failure(), "");
    start('a', a_, io::GuestOffloads::off);
    start('b', b_, svm_offloads());
    if (HasFatalFailure()) return;
    const auto key = compare::DigestKey::from_seed(std::span<const std::byte, 16>(seed_));
    ASSERT_TRUE(a_.planes->pair(key, kVmId, b_.link_mac));
    ASSERT_TRUE(b_.planes->pair(key, kVmId, a_.link_mac));
    a_.planes->set_hold(20 * kSecond);  // no stall may come between a test's steps
    a_.planes->direct();
    b_.planes->standby();
    begin_epoch(1);
    finish_epoch(1);
  }
  virtual io::GuestOffloads svm_offloads() const { return io::GuestOffloads::off; }

  void start(char name, NicsHost& host, io::GuestOffloads offloads) {
    lab_->in(name, [&] {
      const auto mac = io::device_mac("link0");
      ASSERT_TRUE(mac) << mac.error().message;
      host.link_mac = *mac;
      auto fabric = daemon::Fabric::create("link0", {{"uplink0", kMacs[0], 16384}, {"uplink0", kMacs[1], 16384}});
      ASSERT_TRUE(fabric) << fabric.error().message;
      host.fabric = std::move(*fabric);
      host.nics.resize(kMacs.size());
      std::vector<Planes::Nic> nics;
      for (std::uint16_t i = 0; i < kMacs.size(); ++i) {
        auto tap = io::Tap::create("tap" + std::to_string(i), 1500, offloads);
        ASSERT_TRUE(tap) << tap.error().message;
        host.nics[i].tap.emplace(std::move(*tap));
        daemon::PlaneConfig config;
        config.slot = i;
        config.uplink = "uplink0";
        config.vm_mac = kMacs[i];
        config.vm_id = kVmId;
        config.nic = i;
        nics.push_back({config, *host.nics[i].tap});
      }
      auto planes =
          Planes::create(nics, *host.fabric, [this](std::size_t nic, std::uint32_t epoch, const compare::Diverged&) {
            const std::lock_guard lock(mutex_);
            diverged_.emplace_back(nic, epoch);
            has_diverged_.notify_all();
          });
      ASSERT_TRUE(planes) << planes.error().message;
      host.planes = std::move(*planes);
    });
  }

  /// A checkpoint until the PVM runs again, and the rest of it.
  void begin_epoch(std::uint32_t epoch) {
    ASSERT_TRUE(b_.planes->standby_stop(epoch));
    flows_ = a_.planes->begin_epoch(epoch, false);
    a_.planes->resume_input();
  }
  void finish_epoch(std::uint32_t epoch) {
    a_.planes->commit(epoch);
    b_.planes->standby_begin(epoch, flows_);
    a_.planes->svm_running(epoch);
  }

  std::vector<std::pair<std::size_t, std::uint32_t>> wait_diverged() {
    std::unique_lock lock(mutex_);
    has_diverged_.wait_for(lock, std::chrono::seconds(3), [this] { return !diverged_.empty(); });
    return std::exchange(diverged_, {});
  }

  /// What the client gets of both NICs within the patience, but for announcements.
  std::vector<Bytes> client_hears(std::size_t frames_max) {
    std::vector<Bytes> heard;
    while (heard.size() < frames_max) {
      auto frame = lab_->client_receive_any(kMacs, heard.empty() ? std::chrono::milliseconds(2000) : kQuiet);
      if (!frame) break;
      if (get16(*frame, 12) == kEtherType) heard.push_back(std::move(*frame));
    }
    return heard;
  }

  static std::vector<std::uint32_t> epochs(const NicsHost& host) {
    return {host.planes->at(0).nic().slot.epoch, host.planes->at(1).nic().slot.epoch};
  }

  static Bytes output(std::size_t nic, unsigned seed) {
    return ethernet(kClientMac, kMacs[nic], kEtherType, pattern(100, seed));
  }

  const Bytes seed_ = pattern(16, 4);
  std::optional<NetLab> lab_;
  std::mutex mutex_;
  std::condition_variable has_diverged_;
  std::vector<std::pair<std::size_t, std::uint32_t>> diverged_;  // NIC and epoch
  std::vector<daemon::EpochFlows> flows_;
  NicsHost a_, b_;  // last: their threads use the above
};

TEST_F(PlanesTest, EachNicIsComparedWithItsTwin) {
  for (std::size_t nic = 0; nic < kMacs.size(); ++nic) {
    const Bytes said = output(nic, 10);
    a_.nics[nic].send(said);
    b_.nics[1 - nic].send(output(1 - nic, 10));
    EXPECT_FALSE(lab_->client_receive(kQuiet, kMacs[nic])) << "the SVM said so on its other NIC";
    b_.nics[nic].send(said);
    EXPECT_EQ(lab_->client_receive(std::chrono::seconds(2), kMacs[nic]), said);
    a_.nics[1 - nic].send(output(1 - nic, 10));
    EXPECT_TRUE(lab_->client_receive(std::chrono::seconds(2), kMacs[1 - nic]));
  }
}

TEST_F(PlanesTest, ClientsReachBothVmsByEachNic) {
  for (std::size_t nic = 0; nic < kMacs.size(); ++nic) {
    const Bytes said = ethernet(kMacs[nic], kClientMac, kEtherType, pattern(100, 20));
    lab_->client_send(said);
    EXPECT_EQ(a_.nics[nic].receive(), said);
    EXPECT_EQ(b_.nics[nic].receive(), said);
    EXPECT_FALSE(a_.nics[1 - nic].receive(kQuiet));
    EXPECT_FALSE(b_.nics[1 - nic].receive(kQuiet));
  }
}

TEST_F(PlanesTest, NothingOfANewEpochLeavesByAnyNicBeforeItsCommit) {
  for (std::size_t nic = 0; nic < kMacs.size(); ++nic) a_.nics[nic].send(output(nic, 30));
  begin_epoch(2);
  for (std::size_t nic = 0; nic < kMacs.size(); ++nic) a_.nics[nic].send(output(nic, 31));
  EXPECT_FALSE(lab_->client_receive_any(kMacs, kQuiet));
  finish_epoch(2);
  EXPECT_THAT(client_hears(4), UnorderedElementsAre(output(0, 30), output(1, 30))) << "the old epoch's";
  for (std::size_t nic = 0; nic < kMacs.size(); ++nic) {
    b_.nics[nic].send(output(nic, 31));
    EXPECT_EQ(lab_->client_receive(std::chrono::seconds(2), kMacs[nic]), output(nic, 31));
  }
}

TEST_F(PlanesTest, ADivergenceNamesItsNic) {
  for (std::uint32_t nic = 0; nic < kMacs.size(); ++nic) {
    const std::uint32_t epoch = nic + 1;
    a_.planes->set_hold(kMillisecond);  // then a frame without a twin is a divergence
    a_.nics[nic].send(output(nic, 40));
    EXPECT_THAT(wait_diverged(), ElementsAre(std::pair<std::size_t, std::uint32_t>(nic, epoch)));
    a_.planes->set_hold(20 * kSecond);
    begin_epoch(epoch + 1);
    finish_epoch(epoch + 1);
    EXPECT_EQ(lab_->client_receive(std::chrono::seconds(2), kMacs[nic]), output(nic, 40));
  }
}

TEST_F(PlanesTest, ATakeOverOpensEveryNic) {
  for (std::size_t nic = 0; nic < kMacs.size(); ++nic) {
    b_.nics[nic].send(output(nic, 50));
    EXPECT_FALSE(lab_->client_receive(kQuiet, kMacs[nic]));
  }
  a_.planes.reset();
  const auto stats = b_.planes->take_over();
  EXPECT_EQ(stats.frames_replayed, 2U);
  EXPECT_THAT(client_hears(2), UnorderedElementsAre(output(0, 50), output(1, 50))) << "replayed";
  for (std::size_t nic = 0; nic < kMacs.size(); ++nic) b_.nics[nic].send(output(nic, 51));
  EXPECT_THAT(client_hears(2), UnorderedElementsAre(output(0, 51), output(1, 51)));
}

TEST_F(PlanesTest, ALostSecondaryOpensEveryNicAndALostOwnershipShutsIt) {
  for (std::size_t nic = 0; nic < kMacs.size(); ++nic) a_.nics[nic].send(output(nic, 60));
  EXPECT_FALSE(lab_->client_receive(kQuiet));
  a_.planes->release_all_and_direct();
  EXPECT_THAT(client_hears(2), UnorderedElementsAre(output(0, 60), output(1, 60)));
  a_.planes->discard_and_close();
  for (std::size_t nic = 0; nic < kMacs.size(); ++nic) {
    a_.nics[nic].send(output(nic, 61));
    EXPECT_FALSE(lab_->client_receive(kQuiet, kMacs[nic]));
  }
}

/// The marks that tell the end of a stopped guest's output go through the offloads' pairs.
class PlanesWithOffloadsTest : public PlanesTest {
  io::GuestOffloads svm_offloads() const override { return io::GuestOffloads::on; }
};

TEST_F(PlanesWithOffloadsTest, AStopThatOneNicCannotCarryOutIsUndoneOnTheOthers) {
  lab_->in('b', [] { ASSERT_EQ(std::system("ip link set tap1-o down"), 0); });
  const auto stopped = b_.planes->standby_stop(2);
  ASSERT_FALSE(stopped);
  EXPECT_THAT(stopped.error().message, testing::HasSubstr("within 1 s"));
  EXPECT_THAT(epochs(b_), ElementsAre(1, 1));
  lab_->in('b', [] { ASSERT_EQ(std::system("ip link set tap1-o up"), 0); });
  ASSERT_TRUE(b_.planes->standby_stop(2));
  EXPECT_THAT(epochs(b_), ElementsAre(2, 2));
}

}  // namespace
}  // namespace twinstep::test
