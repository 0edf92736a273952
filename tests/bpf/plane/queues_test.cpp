// SPDX-License-Identifier: Apache-2.0
// Uplink and link with several receive queues: each has a socket, and a flow keeps its order.
#include <gmock/gmock.h>

#include <array>
#include <map>
#include <set>
#include <thread>

#include "plane_fixture.hpp"

namespace twinstep::test {
namespace {

using std::chrono::milliseconds;
using ::testing::AllOf;
using ::testing::HasSubstr;

constexpr Mac kSecondMac{0x52, 0x54, 0, 0, 0, 3};
constexpr std::array<Mac, 2> kMacs{kVmMac, kSecondMac};
constexpr unsigned kQueues = 4;
constexpr std::uint16_t kFlows = 16;
constexpr std::uint32_t kFramesEach = 5;

using Order = std::map<std::uint16_t, std::vector<std::uint32_t>>;  // sequence numbers by client's port

class QueuesTest : public PlaneFixture {
 protected:
  QueuesTest() { options_.queues = kQueues; }
  void SetUp() override {
    PlaneFixture::SetUp();
    if (IsSkipped() || HasFatalFailure()) return;
    start('a', a_, kMacs);
    start('b', b_, kMacs);
    if (HasFatalFailure()) return;
    for (const std::size_t vm : {0U, 1U}) {
      pair(a_, b_, vm);
      a_.guests[vm].plane->direct();
      b_.guests[vm].plane->standby();
      checkpoint(1, a_.guests[vm], b_.guests[vm]);
    }
  }

  /// The next frames of every flow.
  void client_sends(std::uint32_t first) {
    for (std::uint32_t i = 0; i < kFramesEach; ++i)
      for (std::uint16_t flow = 0; flow < kFlows; ++flow)
        lab_->client_send(frame_of(Tcp{.from_vm = false,
                                       .seq = first + i,
                                       .client_port = static_cast<std::uint16_t>(kClientPort + flow),
                                       .payload = pattern(10)}));
  }
  static Order heard(const Guest& guest, std::size_t frames) {
    Order order;
    for (std::size_t i = 0; i < frames; ++i) {
      const auto frame = guest.receive();
      if (!frame) break;
      order[get16(*frame, 34)].push_back(get32(*frame, 38));
    }
    return order;
  }
  static void expect_all_in_order(const Order& order, std::uint32_t last) {
    ASSERT_EQ(order.size(), kFlows);
    for (const auto& [port, sequence] : order) {
      ASSERT_EQ(sequence.size(), last) << port;
      for (std::uint32_t i = 0; i < last; ++i) EXPECT_EQ(sequence[i], i + 1) << port;
    }
  }

  /// The queues of a host's device whose programs have seen a frame.
  std::set<unsigned> queues_used(char host, const std::string& device) {
    std::set<unsigned> used;
    lab_->in(host, [&] {
      const auto command =
          "ethtool -S " + device + " | sed -n \"s/.*rx_queue_\\([0-9]*\\)_xdp_packets: [1-9].*/\\1/p\"";
      FILE* output = ::popen(command.c_str(), "r");
      for (unsigned queue = 0; std::fscanf(output, "%u", &queue) == 1;) used.insert(queue);
      ::pclose(output);
    });
    return used;
  }

  Host a_, b_;
};

TEST_F(QueuesTest, EveryFlowKeepsItsOrderThroughTheGate) {
  EXPECT_EQ(a_.guests[0].plane->nic().uplink_queues, kQueues);
  EXPECT_EQ(a_.guests[0].plane->nic().link_queues, kQueues);
  const auto before = a_.guests[0].plane->stats().umem_free;
  client_sends(1);
  const std::size_t frames = kFlows * kFramesEach;
  Order at_a = heard(a_.guests[0], frames), at_b = heard(b_.guests[0], frames);
  ASSERT_TRUE(b_.guests[0].plane->standby_stop(2));
  const auto flows = a_.guests[0].plane->begin_epoch(2);
  client_sends(1 + kFramesEach);
  EXPECT_FALSE(a_.guests[0].receive(kQuiet)) << "the gate is shut";
  a_.guests[0].plane->resume_input();
  a_.guests[0].plane->commit(2);
  b_.guests[0].plane->standby_begin(2, flows);
  client_sends(1 + 2 * kFramesEach);
  for (auto& [guest, order] : {std::pair{&a_.guests[0], &at_a}, std::pair{&b_.guests[0], &at_b}})
    for (auto& [port, more] : heard(*guest, 2 * frames))
      (*order)[port].insert((*order)[port].end(), more.begin(), more.end());
  expect_all_in_order(at_a, 3 * kFramesEach);
  expect_all_in_order(at_b, 3 * kFramesEach);
  const auto stats = a_.guests[0].plane->stats();
  EXPECT_EQ(stats.xdp.count[TS_COUNT_UPLINK_GATED], frames);
  EXPECT_EQ(stats.xdp.count[TS_COUNT_UPLINK_ERROR], 0U);
  EXPECT_EQ(stats.umem_free, before);
  EXPECT_GE(queues_used('a', "uplink0").size(), 2U) << "the client's flows were to be on several queues";
}

TEST_F(QueuesTest, EachVmsRecordsComeByAQueueOfItsOwn) {
  for (const std::size_t vm : {0U, 1U}) {
    Bytes said = frame_of(Ip{.payload = pattern(100)});
    std::copy_n(reinterpret_cast<const std::byte*>(kMacs[vm].data()), kMacs[vm].size(), said.begin() + 6);
    a_.guests[vm].send(said);
    EXPECT_FALSE(lab_->client_receive(kQuiet, kMacs[vm]));
    b_.guests[vm].send(said);
    const auto out = lab_->client_receive(std::chrono::seconds(2), kMacs[vm]);
    ASSERT_TRUE(out) << vm;
    EXPECT_EQ(*out, said);
  }
  EXPECT_THAT(queues_used('a', "link0"), ::testing::IsSupersetOf({0U, 1U}));
}

TEST_F(QueuesTest, WhatComesByAQueueWithNoSocketIsCounted) {
  auto& programs = a_.fabric->programs();
  const Guest& guest = a_.guests[0];
  [[maybe_unused]] const auto flows = guest.plane->begin_epoch(2);
  programs.remove_sockets(io::XdpRole::uplink, 0);
  client_sends(1);
  const auto counts = [&] { return guest.plane->stats().xdp.count[TS_COUNT_UPLINK_ERROR]; };
  for (int i = 0; i < 200 && counts() < kFlows * kFramesEach; ++i) std::this_thread::sleep_for(milliseconds(10));
  EXPECT_EQ(counts(), kFlows * kFramesEach);
}

TEST_F(QueuesTest, AQueueThatCameLaterIsNamedByTheProof) {
  a_.guests.clear();
  const auto set_queues = [this](unsigned queues) {
    const auto number = std::to_string(queues);
    lab_->run_on('s', "ethtool -L port-a tx " + number);
    lab_->run_on('a', "ethtool -L uplink0 rx " + number);
  };
  set_queues(2);
  start('a', a_, kMacs);
  ASSERT_FALSE(HasFatalFailure());
  EXPECT_EQ(a_.guests[0].plane->nic().uplink_queues, 2U);
  const auto prove = [this] {
    Result<void> proven;
    lab_->in('a', [&] { proven = a_.guests[0].plane->prove_host(); });
    return proven;
  };
  const auto before = prove();
  EXPECT_TRUE(before) << before.error().message;
  lab_->run_on('a', "ethtool -L uplink0 rx 4");
  const auto after = prove();
  ASSERT_FALSE(after);
  EXPECT_THAT(after.error().message,
              AllOf(HasSubstr("uplink0 spreads frames over 4 queues, of which 2"), HasSubstr("restart twinstepd")));
}

class ManyQueuesTest : public PlaneFixture {
 protected:
  ManyQueuesTest() { options_.queues = TS_QUEUES_MAX + 1; }
};

TEST_F(ManyQueuesTest, MoreThanTheBoundAreRefusedByName) {
  lab_->in('a', [&] {
    auto fabric = daemon::Fabric::create("link0", {{"uplink0", kVmMac, 16384}});
    ASSERT_TRUE(fabric) << fabric.error().message;
    const auto link = (*fabric)->open_link();
    ASSERT_FALSE(link);
    EXPECT_THAT(link.error().message, AllOf(HasSubstr("link0 spreads frames over 17 queues and Twinstep reads 16"),
                                            HasSubstr("ethtool -L link0 combined 16")));
  });
  lab_->run_on('b', "ethtool -L link0 tx 2");
  lab_->run_on('a', "ethtool -L link0 rx 2");
  lab_->in('a', [&] {
    auto fabric = daemon::Fabric::create("link0", {{"uplink0", kVmMac, 16384}});
    ASSERT_TRUE(fabric) << fabric.error().message;
    EXPECT_EQ((*fabric)->open_link().value()->queues.size(), 2U);
    lab_->run_on('a', "ethtool -L link0 rx 3");
    const auto link = (*fabric)->open_link();
    ASSERT_FALSE(link);
    EXPECT_THAT(link.error().message, AllOf(HasSubstr("over 3 queues and had 2 when twinstepd started"),
                                            HasSubstr("ethtool -L link0 combined 2")));
  });
}

}  // namespace
}  // namespace twinstep::test
