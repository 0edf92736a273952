// SPDX-License-Identifier: Apache-2.0
// The user's own XDP program on the uplink, loaded by libxdp, with a VM behind the same uplink.
#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <twinstep_user_bpf.skel.h>
#include <unistd.h>
#include <xdp/libxdp.h>

#include <iostream>
#include <memory>

#include "io/xdp/device_programs.hpp"
#include "io/xdp/dispatcher.hpp"
#include "uplink_fixture.hpp"

namespace twinstep::test {
namespace {

using ::testing::AllOf;
using ::testing::AnyOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::StartsWith;

/// A user's program, loaded as xdp-loader does.
class UsersProgram {
 public:
  explicit UsersProgram(bool hands_on = true) : skeleton_(twinstep_user_bpf::open()) {
    io::quieten_libxdp();
    DECLARE_LIBXDP_OPTS(xdp_program_opts, options);
    options.obj = skeleton_->obj;
    options.prog_name = "user_counter";
    program_ = xdp_program__create(&options);
    if (!hands_on) xdp_program__set_chain_call_enabled(program_, XDP_PASS, false);
  }
  ~UsersProgram() {
    xdp_program__close(program_);
    twinstep_user_bpf::destroy(skeleton_);
  }
  UsersProgram(const UsersProgram&) = delete;
  UsersProgram& operator=(const UsersProgram&) = delete;

  /// Returns 0 or a negative errno.
  int attach(xdp_attach_mode mode, const char* device = "uplink0") {
    return xdp_program__attach(program_, static_cast<int>(::if_nametoindex(device)), mode, 0);
  }
  std::uint64_t passed() const {
    std::uint32_t zero = 0;
    std::uint64_t value = 0;
    EXPECT_EQ(bpf_map__lookup_elem(skeleton_->maps.bss, &zero, sizeof(zero), &value, sizeof(value), 0), 0);
    return value;
  }

 private:
  twinstep_user_bpf* skeleton_;
  xdp_program* program_ = nullptr;
};

class DispatcherTest : public UplinkFixture {
 protected:
  void SetUp() override {
    UplinkFixture::SetUp();
    if (!IsSkipped() && !io::kernel_can_dispatch())
      GTEST_SKIP() << "this kernel lets no program replace a function of another (BPF_PROG_TYPE_EXT)";
  }
  void TearDown() override {
    if (lab_) stop();
  }
  /// A place in a dispatcher is left from the network namespace that the device is in.
  void stop() {
    lab_->in('a', [&] {
      a_.guests.clear();
      a_.fabric.reset();
    });
  }
  void load_users(xdp_attach_mode mode) {
    lab_->in('a', [&] { ASSERT_EQ(user_.attach(mode), 0); });
  }
  std::vector<std::string> names() {
    std::vector<std::string> all;
    lab_->in('a', [&] {
      for (const auto& each : io::device_programs(io::device_index("uplink0").value())) all.push_back(each.name);
    });
    return all;
  }
  /// Whether host a's own stack gets what the client sends to the VM.
  bool the_host_gets_the_vms_frames() {
    bool got = false;
    lab_->in('a', [&] {
      const io::UniqueFd socket(::socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, htons(kType)));
      sockaddr_ll address{};
      address.sll_family = AF_PACKET;
      address.sll_protocol = htons(kType);
      address.sll_ifindex = static_cast<int>(::if_nametoindex("uplink0"));
      ASSERT_EQ(::bind(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)), 0);
      lab_->client_send(ethernet(kVmMac, kClientMac, kType, pattern(100, 7)));
      pollfd entry{socket.get(), POLLIN, 0};
      got = ::poll(&entry, 1, static_cast<int>(kQuiet.count())) == 1;
    });
    return got;
  }
  /// A daemon in a process of its own, with the VM solo, that is killed.
  void run_and_kill_a_daemon() {
    int ready[2];
    ASSERT_EQ(::pipe(ready), 0);
    const pid_t child = ::fork();
    if (child == 0) {
      start('a', a_, kMacs);
      a().plane->direct();
      [[maybe_unused]] const auto written = ::write(ready[1], "x", 1);
      for (;;) ::pause();
    }
    pollfd entry{ready[0], POLLIN, 0};
    EXPECT_EQ(::poll(&entry, 1, 20000), 1);
    EXPECT_THAT(names(), ElementsAre("user_counter", "ts_uplink_join"));
    EXPECT_FALSE(the_host_gets_the_vms_frames());
    ::kill(child, SIGKILL);
    ::waitpid(child, nullptr, 0);
    ::close(ready[0]);
    ::close(ready[1]);
  }

  static constexpr std::uint16_t kType = 0x88b6;
  UsersProgram user_;
};

TEST_F(DispatcherTest, TheUsersProgramComesFirstAndTheVmsFramesGoOn) {
  for (const auto mode : {XDP_MODE_NATIVE, XDP_MODE_SKB}) {
    UsersProgram user;
    lab_->in('a', [&] { ASSERT_EQ(user.attach(mode), 0); });
    ASSERT_NO_FATAL_FAILURE(start_both());
    const auto nic = a().plane->nic();
    EXPECT_TRUE(nic.uplink_dispatched);
    EXPECT_FALSE(nic.link_dispatched);
    EXPECT_EQ(nic.uplink_mode, mode == XDP_MODE_NATIVE ? io::XdpMode::native : io::XdpMode::generic);
    lab_->in('a', [&] {
      EXPECT_THAT(a().plane->nic().uplink_state.other_programs, ElementsAre(StartsWith("user_counter (id ")));
    });
    const auto before = user.passed();
    expect_traffic();
    EXPECT_GE(user.passed(), before + 2);
    EXPECT_THAT(names(), ElementsAre("user_counter", "ts_uplink_join"));
    stop();
    EXPECT_THAT(names(), ElementsAre("user_counter"));
    const auto left = user.passed();
    EXPECT_TRUE(the_host_gets_the_vms_frames());
    EXPECT_GT(user.passed(), left);
    lab_->run_on('a', "ip link set uplink0 xdp off; ip link set uplink0 xdpgeneric off");
  }
}

TEST_F(DispatcherTest, WhatAKilledDaemonLeavesLetsAllPassAndTheNextStartRemovesIt) {
  load_users(XDP_MODE_NATIVE);
  ASSERT_NO_FATAL_FAILURE(run_and_kill_a_daemon());
  EXPECT_THAT(names(), ElementsAre("user_counter", "ts_uplink_join"));
  const auto before = user_.passed();
  EXPECT_TRUE(the_host_gets_the_vms_frames());
  EXPECT_GT(user_.passed(), before);
  lab_->in('a', [&] {
    const auto fabric = daemon::Fabric::create("link0", {{"uplink0", kVmMac, 16384}});
    ASSERT_TRUE(fabric) << fabric.error().message;
  });
  EXPECT_THAT(names(), ElementsAre("user_counter"));
  ASSERT_NO_FATAL_FAILURE(start_both());
  expect_traffic();
}

TEST_F(DispatcherTest, AProgramThatHandsNothingOnIsNamed) {
  UsersProgram user(false);
  lab_->in('a', [&] { ASSERT_EQ(user.attach(XDP_MODE_NATIVE), 0); });
  EXPECT_THAT(refusal(), AllOf(HasSubstr("user_counter on uplink0"), HasSubstr("XDP_PASS")));
}

TEST_F(DispatcherTest, TheLinksProgramJoinsOrIsRefusedByName) {
  lab_->in('a', [&] { ASSERT_EQ(user_.attach(XDP_MODE_NATIVE, "link0"), 0); });
  const std::string said = refusal();
  std::cout << "LINK " << said << std::endl;
  EXPECT_THAT(said, AnyOf("none", HasSubstr("libxdp's dispatcher on link0 cannot take the program ts_link_join in")));
  lab_->in('a', [&] {
    EXPECT_THAT(io::XdpPrograms::load()->other_programs(io::device_index("link0").value()),
                ElementsAre(StartsWith("user_counter (id ")));
  });
}

TEST_F(DispatcherTest, TheKernelRefusesAProgramThatComesLater) {
  ASSERT_NO_FATAL_FAILURE(start_both());
  lab_->in('a', [&] { EXPECT_EQ(user_.attach(XDP_MODE_NATIVE), -EBUSY); });
  EXPECT_THAT(names(), ElementsAre("ts_uplink"));
  expect_traffic();
}

}  // namespace
}  // namespace twinstep::test
