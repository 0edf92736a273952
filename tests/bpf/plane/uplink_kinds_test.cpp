// SPDX-License-Identifier: Apache-2.0
// Uplinks as users have them: a bridge or its port, a VLAN device, a bond, and devices with programs of others. A
// kernel without a kind of device skips its tests; the kernels of the matrix have all.
#include <bpf/bpf.h>
#include <gmock/gmock.h>
#include <linux/bpf.h>
#include <linux/if_link.h>

#include <array>
#include <cstdlib>
#include <iostream>

#include "io/netlink/device_kind.hpp"
#include "uplink_fixture.hpp"

namespace twinstep::test {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr const char* kSetUp = "ip link set uplink0 up";

class UplinkKindsTest : public UplinkFixture {
 protected:
  /// On both hosts: `make` makes a device uplink0 above what was uplink0 so far, and is port0 from here on.
  void put_above(const std::string& make) {
    for (const char host : {'a', 'b'}) {
      lab_->run_on(host, "ip link set uplink0 down && ip link set uplink0 name port0");
      if (!lab_->succeeds(host, make + " 2>/dev/null")) GTEST_SKIP() << "this kernel can't: " << make;
    }
  }
  void expect_generic() {
    const auto nic = a().plane->nic();
    EXPECT_EQ(nic.uplink_mode, io::XdpMode::generic);
    EXPECT_EQ(nic.tap_mode, io::XdpMode::generic);
  }
};

TEST_F(UplinkKindsTest, ABridgeCarriesTheVmsFrames) {
  // Before it is asked to, a bridge receives for its own address only.
  ASSERT_NO_FATAL_FAILURE(put_above("ip link add uplink0 type bridge && ip link set port0 master uplink0 up"));
  for (const char host : {'a', 'b'}) lab_->run_on(host, kSetUp);
  ASSERT_NO_FATAL_FAILURE(start_both());
  expect_generic();
  expect_traffic();
}

TEST_F(UplinkKindsTest, ABridgesPortCarriesTheVmsFramesAndTheBridgesToo) {
  for (const char host : {'a', 'b'})
    lab_->run_on(host, "ip link add br0 type bridge && ip link set uplink0 master br0 && ip link set br0 up");
  lab_->give_addresses("br0");
  ASSERT_EQ(lab_->failure(), "");
  ASSERT_NO_FATAL_FAILURE(start_both());
  EXPECT_EQ(a().plane->nic().uplink_mode, io::XdpMode::native);
  expect_traffic();
  EXPECT_TRUE(lab_->stacks_reach_each_other());
}

TEST_F(UplinkKindsTest, AVlanDeviceCarriesTheFramesOfItsVlan) {
  ASSERT_NO_FATAL_FAILURE(put_above("ip link add link port0 name uplink0 type vlan id 5 && ip link set port0 up"));
  if (IsSkipped()) return;
  for (const char host : {'a', 'b'}) lab_->run_on(host, kSetUp);
  lab_->run_on('s', "ip link add link client name client5 type vlan id 5 && ip link set client5 up");
  ASSERT_NO_FATAL_FAILURE(start_both());
  expect_generic();
  lab_->client_send(frame(kVmMac, kClientMac, 9));
  EXPECT_FALSE(a().receive(kQuiet)) << "of no VLAN";
  lab_->be_client_on("client5");
  expect_traffic();
}

TEST_F(UplinkKindsTest, ABondCarriesTheVmsFramesAndItsMemberIsRefused) {
  ASSERT_NO_FATAL_FAILURE(
      put_above("ip link add uplink0 type bond mode active-backup miimon 50 && "
                "ip link set port0 master uplink0"));
  if (IsSkipped()) return;
  for (const char host : {'a', 'b'}) lab_->run_on(host, kSetUp);
  ASSERT_NO_FATAL_FAILURE(start_both());
  expect_generic();
  expect_traffic();
  a_.guests.clear();
  a_.fabric.reset();
  lab_->run_on('a', "ip link set uplink0 down && ip link set uplink0 name bond7");
  lab_->run_on('a', "ip link set port0 down && ip link set port0 name uplink0");
  EXPECT_THAT(refusal(), AllOf(HasSubstr("uplink0 is a member of bond7"), HasSubstr("uplink = \"bond7\"")));
}

TEST_F(UplinkKindsTest, TagsThatTheUplinkWouldStripStayInTheFrames) {
  const std::string is_off = "ethtool -k uplink0 | grep -q 'rx-vlan-offload: off'";
  lab_->run_on('a', "ethtool -K uplink0 rxvlan on");
  ASSERT_FALSE(lab_->succeeds('a', is_off));
  ASSERT_NO_FATAL_FAILURE(start_both());
  EXPECT_TRUE(lab_->succeeds('a', is_off));
}

TEST_F(UplinkKindsTest, ANicCarriesTheVmsFramesByTheMemoryOfBothOrByACopy) {
  const char* first = std::getenv("TWINSTEP_NIC");
  const char* second = std::getenv("TWINSTEP_NIC_PEER");
  if (first == nullptr || second == nullptr)
    GTEST_SKIP() << "needs two NICs that are wired to each other, named by TWINSTEP_NIC and TWINSTEP_NIC_PEER";
  lab_->run_on('a', "ip link del uplink0");
  lab_->move_in('a', first, "uplink0");
  lab_->move_in('s', second, "port-a");
  ASSERT_EQ(lab_->failure(), "");
  lab_->run_on('s', "ip link set port-a master switch");
  for (int round = 0; round < 2; ++round) {
    ASSERT_NO_FATAL_FAILURE(start_both());
    EXPECT_EQ(a().plane->nic().uplink_mode, io::XdpMode::native);
    std::cout << "SOCKETS " << (a().plane->nic().uplink_state.zero_copy ? "zero-copy" : "copy") << std::endl;
    expect_traffic();
    for (unsigned i = 0; i < 300; ++i) {
      const Bytes said = frame(kClientMac, kVmMac, 1000 + i);
      a().send(said);
      b().send(said);
      ASSERT_EQ(lab_->client_receive(), said) << i;
    }
    EXPECT_EQ(a().plane->stats().frames_unsent, 0U);
    a_.guests.clear();
    a_.fabric.reset();
  }
}

TEST_F(UplinkKindsTest, DevicesAreShownAsTheyAre) {
  ASSERT_NO_FATAL_FAILURE(start_both());
  const auto nic = a().plane->nic();
  EXPECT_EQ(nic.uplink_state.mtu_bytes, 1500U);
  EXPECT_EQ(nic.link_state.mtu_bytes, 1600U);
  EXPECT_EQ(nic.output_state.mtu_bytes, 1504U);
  for (const auto& state : {nic.uplink_state, nic.link_state, nic.output_state}) {
    EXPECT_FALSE(state.zero_copy);
    EXPECT_THAT(state.other_programs, IsEmpty());
  }
}

TEST_F(UplinkKindsTest, AProgramOfOthersIsNamedAndLeftThere) {
  const std::array<bpf_insn, 2> pass{
      {{BPF_ALU64 | BPF_MOV | BPF_K, BPF_REG_0, 0, 0, XDP_PASS}, {BPF_JMP | BPF_EXIT, 0, 0, 0, 0}}};
  const io::UniqueFd program(bpf_prog_load(BPF_PROG_TYPE_XDP, "foreign", "GPL", pass.data(), pass.size(), nullptr));
  ASSERT_TRUE(program);
  bpf_prog_info info{};
  std::uint32_t size = sizeof info;
  ASSERT_EQ(bpf_obj_get_info_by_fd(program.get(), &info, &size), 0);
  int ifindex = 0;
  lab_->in('a', [&] {
    ifindex = io::device_index("uplink0").value();
    ASSERT_EQ(bpf_xdp_attach(ifindex, program.get(), XDP_FLAGS_DRV_MODE, nullptr), 0);
  });
  const std::string named = "foreign (id " + std::to_string(info.id) + ")";
  EXPECT_THAT(refusal(), AllOf(HasSubstr(named), HasSubstr("xdp-loader unload uplink0")));
  lab_->in('a', [&] {
    std::uint32_t id = 0;
    EXPECT_EQ(bpf_xdp_query_id(ifindex, XDP_FLAGS_DRV_MODE, &id), 0);
    EXPECT_EQ(id, info.id);
    EXPECT_THAT(io::XdpPrograms::load()->other_programs(ifindex), ElementsAre(named));
  });
}

}  // namespace
}  // namespace twinstep::test
