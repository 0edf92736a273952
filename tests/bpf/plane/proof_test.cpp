// SPDX-License-Identifier: Apache-2.0
// The start-up proof: it passes where all is well, leaves the traffic alone, and names what is broken.
#include <gmock/gmock.h>

#include <array>
#include <cstdlib>
#include <thread>

#include "plane_fixture.hpp"

namespace twinstep::test {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

constexpr std::array<Mac, 1> kMacs{kVmMac};
constexpr std::uint32_t kLoopback = 1;

class ProofTest : public PlaneFixture {
 protected:
  void SetUp() override {
    PlaneFixture::SetUp();
    if (IsSkipped() || HasFatalFailure()) return;
    start('a', a_, kMacs);
    start('b', b_, kMacs);
    if (HasFatalFailure()) return;
    a().plane->direct();
  }

  Guest& a() { return a_.guests[0]; }
  Guest& b() { return b_.guests[0]; }

  /// Host a's proof, with the daemon's right to look up devices.
  Result<void> prove_host() {
    Result<void> proven;
    lab_->in('a', [&] { proven = a().plane->prove_host(); });
    return proven;
  }
  Result<void> prove_link() {
    pair(a_, b_, 0);
    b().plane->standby();
    Result<void> proven;
    lab_->in('a', [&] { proven = a().plane->prove_link(); });
    return proven;
  }
  void run_on(char host, const std::string& command) {
    lab_->in(host, [&] { ASSERT_EQ(std::system(command.c_str()), 0) << command; });
  }

  /// What set_devices() was given for host a's slot.
  io::XdpPrograms::SlotDevices devices() {
    io::XdpPrograms::SlotDevices devices;
    lab_->in('a', [&] {
      devices = {.tap_ifindex = io::device_index("tap0").value(),
                 .output_ifindex = io::device_index("tap0").value(),
                 .uplink_ifindex = io::device_index("uplink0").value(),
                 .link_ifindex = io::device_index("link0").value(),
                 .vm_mac = kVmMac};
    });
    return devices;
  }
  void break_devices(const io::XdpPrograms::SlotDevices& devices) {
    lab_->in('a', [&] { ASSERT_TRUE(a_.fabric->programs().set_devices(0, devices)); });
  }

  Host a_, b_;
};

TEST_F(ProofTest, AllWaysAreProvenAndNobodyElseSeesIt) {
  const auto host = prove_host();
  EXPECT_TRUE(host) << host.error().message;
  const auto link = prove_link();
  EXPECT_TRUE(link) << link.error().message;
  EXPECT_FALSE(a().receive_from(kVmMac, kQuiet));
  EXPECT_FALSE(b().receive_from(kVmMac, kQuiet));
  EXPECT_FALSE(lab_->client_receive(kQuiet));
  const auto stats = a().plane->stats();
  const auto& counts = stats.xdp.count;
  EXPECT_GE(counts[TS_COUNT_PROBES], 8U);
  EXPECT_EQ(counts[TS_COUNT_PROBES_OUT], 1U);
  EXPECT_EQ(counts[TS_COUNT_TAP_DIRECT], 0U);
}

TEST_F(ProofTest, WhatLiesInTheTapStaysThereInOrder) {
  std::vector<Bytes> sent;
  for (unsigned i = 0; i < 5; ++i) {
    sent.push_back(ethernet(kVmMac, kClientMac, 0x88b6, pattern(100, i)));
    lab_->client_send(sent.back());
  }
  for (int waited = 0; waited < 200 && a().plane->stats().xdp.count[TS_COUNT_UPLINK_TAP] < sent.size(); ++waited)
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  ASSERT_TRUE(prove_host());
  for (const Bytes& frame : sent) EXPECT_EQ(a().receive(), frame);
  const Bytes later = ethernet(kVmMac, kClientMac, 0x88b6, pattern(100, 9));
  lab_->client_send(later);
  EXPECT_EQ(a().receive(), later);
}

TEST_F(ProofTest, AFrameThatOnlyLooksLikeAProbeIsTheGuests) {
  const Bytes alike = ethernet(kClientMac, kVmMac, TS_ETHERTYPE, Bytes(sizeof(ts_probe) + 40));
  a().send(alike);
  EXPECT_EQ(lab_->client_receive(), alike);
}

TEST_F(ProofTest, AWrongTapIsNamed) {
  auto wrong = devices();
  wrong.tap_ifindex = kLoopback;
  break_devices(wrong);
  const auto proven = prove_host();
  ASSERT_FALSE(proven);
  EXPECT_THAT(proven.error().message, HasSubstr("from the uplink uplink0 to the tap tap0"));
  break_devices(devices());
  EXPECT_TRUE(prove_host()) << "mended, and nothing is left of the failure";
}

TEST_F(ProofTest, AWrongUplinkIsNamed) {
  auto wrong = devices();
  wrong.uplink_ifindex = kLoopback;
  break_devices(wrong);
  const auto proven = prove_host();
  ASSERT_FALSE(proven);
  EXPECT_THAT(proven.error().message, AllOf(HasSubstr("from the tap tap0 to the uplink uplink0"), HasSubstr("gro on")));
}

TEST_F(ProofTest, AWrongLinkIsNamed) {
  auto wrong = devices();
  wrong.link_ifindex = kLoopback;
  break_devices(wrong);
  EXPECT_TRUE(prove_host());
  const auto proven = prove_link();
  ASSERT_FALSE(proven);
  EXPECT_THAT(proven.error().message, HasSubstr("of 64 bytes passes over the link link0 and back"));
}

TEST_F(ProofTest, AWrongSocketIsNamed) {
  // A socket of the link takes no frame of another device, and the kernel says so to nobody.
  for (const auto& [role, name] : {std::pair{io::XdpRole::tap, "from the tap tap0 to twinstepd"},
                                   std::pair{io::XdpRole::uplink, "from the uplink uplink0 to twinstepd"},
                                   std::pair{io::XdpRole::link, "from the link link0 to twinstepd"}}) {
    a_.fabric->programs().remove_sockets(role, 0);
    const auto proven = prove_host();
    ASSERT_FALSE(proven) << name;
    EXPECT_THAT(proven.error().message, HasSubstr(name));
    start('a', a_, kMacs);
    ASSERT_FALSE(HasFatalFailure());
  }
}

TEST_F(ProofTest, ALinkThatCarriesSmallFramesOnlyIsNamed) {
  run_on('b', "ip link set link0 mtu 1500");
  const auto proven = prove_link();
  ASSERT_FALSE(proven);
  EXPECT_THAT(proven.error().message, AllOf(HasSubstr("of 1522 bytes"), HasSubstr("an MTU of 1538")));
}

TEST_F(ProofTest, APeerThatIsNotThereIsNamed) {
  b_.guests.clear();
  const Bytes seed = pattern(16, 4);
  ASSERT_TRUE(
      a().plane->pair(compare::DigestKey::from_seed(std::span<const std::byte, 16>(seed)), kFirstVmId, b_.link_mac));
  const auto proven = a().plane->prove_link();
  ASSERT_FALSE(proven);
  EXPECT_THAT(proven.error().message, HasSubstr("over the link link0 and back"));
}

}  // namespace
}  // namespace twinstep::test
