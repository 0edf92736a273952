// SPDX-License-Identifier: Apache-2.0
// Two VMs behind one uplink: each gets what is its own, they reach each other, and one's failover is nothing to the
// other or to the host.
#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <cstdlib>
#include <mutex>
#include <thread>

#include "daemon/plane/fabric.hpp"
#include "daemon/plane/plane.hpp"
#include "net_lab.hpp"

namespace twinstep::test {
namespace {

using daemon::Fabric;
using daemon::FabricNic;
using daemon::Plane;
using std::chrono::milliseconds;

constexpr Mac kOtherMac{0x52, 0x54, 0, 0, 0, 9};
constexpr std::array<Mac, 2> kMacs{kVmMac, kOtherMac};
constexpr std::uint32_t kUmemFrames = 16384;
constexpr milliseconds kQuiet{150};
/// Frames: more than the packet memory of a VM.
constexpr unsigned kFlood = 40000;

/// A VM on one host, its guest played by the test.
struct Guest {
  std::optional<io::Tap> tap;
  std::unique_ptr<Plane> plane;

  void send(const Bytes& frame) const {
    ASSERT_EQ(::write(tap->fd(), frame.data(), frame.size()), static_cast<ssize_t>(frame.size()));
  }
  /// The next frame from `source`.
  std::optional<Bytes> receive(const Mac& source, milliseconds patience = std::chrono::seconds(2)) const {
    for (;;) {
      pollfd entry{tap->fd(), POLLIN, 0};
      if (::poll(&entry, 1, static_cast<int>(patience.count())) != 1) return std::nullopt;
      Bytes frame(4096);
      const auto bytes = ::read(tap->fd(), frame.data(), frame.size());
      if (bytes <= 0) return std::nullopt;
      frame.resize(static_cast<std::size_t>(bytes));
      if (comes_from(frame, source)) return frame;
    }
  }
};

class SharedUplinkTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (::geteuid() != 0) GTEST_SKIP() << "needs root: CAP_NET_ADMIN and CAP_BPF for namespaces and XDP";
    lab_.emplace();
    ASSERT_EQ(lab_->failure(), "");
    start('a', fabric_a_, a_);
    start('b', fabric_b_, b_);
    if (HasFatalFailure()) return;
    for (Guest& guest : a_) guest.plane->direct();
  }

  void start(char host, std::unique_ptr<Fabric>& fabric, std::array<Guest, 2>& guests) {
    lab_->in(host, [&] {
      auto made = Fabric::create("link0", {{"uplink0", kVmMac, kUmemFrames}, {"uplink0", kOtherMac, kUmemFrames}});
      ASSERT_TRUE(made) << made.error().message;
      fabric = std::move(*made);
      const auto mac = io::device_mac("link0");
      ASSERT_TRUE(mac) << mac.error().message;
      link_macs_[host] = *mac;
      for (std::uint16_t i = 0; i < guests.size(); ++i) {
        auto tap = io::Tap::create("tap" + std::to_string(i), 1500, io::GuestOffloads::off);
        ASSERT_TRUE(tap) << tap.error().message;
        guests[i].tap.emplace(std::move(*tap));
        daemon::PlaneConfig config;
        config.slot = i;
        config.uplink = "uplink0";
        config.vm_mac = kMacs[i];
        config.vm_id = static_cast<std::uint16_t>(i + 1);
        auto plane = Plane::create(config, *fabric, *guests[i].tap,
                                   [this, i](std::uint32_t, const compare::Diverged&) { on_diverged(i); });
        ASSERT_TRUE(plane) << plane.error().message;
        guests[i].plane = std::move(*plane);
      }
    });
  }

  /// Host b becomes the VM's secondary.
  void protect(std::size_t vm = 0) {
    const Bytes seed = pattern(16, 4);
    const auto key = compare::DigestKey::from_seed(std::span<const std::byte, 16>(seed));
    const auto id = static_cast<std::uint16_t>(vm + 1);
    Plane& primary = *a_[vm].plane;
    Plane& secondary = *b_[vm].plane;
    ASSERT_TRUE(primary.pair(key, id, link_macs_['b']));
    ASSERT_TRUE(secondary.pair(key, id, link_macs_['a']));
    primary.set_hold(20 * kSecond);
    secondary.standby();
    ASSERT_TRUE(secondary.standby_stop(1));
    const auto flows = primary.begin_epoch(1);
    primary.resume_input();
    primary.commit(1);
    secondary.standby_begin(1, flows);
    primary.svm_running(1);
  }

  /// The plane's thread calls this.
  void on_diverged(std::size_t vm) {
    ++diverged_.at(vm);
    if (vm == 0) stall_.lock(), stall_.unlock();
  }

  /// The host's own stack sends a datagram to the client's, and gets one back.
  bool host_reaches_client() {
    io::UniqueFd host;
    io::UniqueFd client;
    lab_->in('a', [&] { host = udp_socket("10.9.0.1"); });
    lab_->in('s', [&] { client = udp_socket("10.9.0.2"); });
    return passes(host, client, "10.9.0.2") && passes(client, host, "10.9.0.1");
  }

  static sockaddr_in address_of(const char* text) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(9999);
    ::inet_pton(AF_INET, text, &address.sin_addr);
    return address;
  }
  static io::UniqueFd udp_socket(const char* text) {
    io::UniqueFd fd(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    const auto address = address_of(text);
    EXPECT_EQ(::bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)), 0);
    return fd;
  }
  static bool passes(const io::UniqueFd& from, const io::UniqueFd& to, const char* text) {
    const auto address = address_of(text);
    char byte = 'x';
    ::sendto(from.get(), &byte, 1, 0, reinterpret_cast<const sockaddr*>(&address), sizeof(address));
    pollfd entry{to.get(), POLLIN, 0};
    return ::poll(&entry, 1, 3000) == 1 && ::recv(to.get(), &byte, 1, 0) == 1;
  }

  static Bytes frame(const Mac& to, const Mac& from, unsigned seed) {
    return ethernet(to, from, 0x88b6, pattern(100, seed));
  }

  std::optional<NetLab> lab_;
  std::map<char, io::MacAddress> link_macs_;
  std::unique_ptr<Fabric> fabric_a_, fabric_b_;
  std::mutex stall_;  // while it is taken, the first VM's plane waits at its next divergence
  std::array<std::atomic<int>, 2> diverged_{};
  std::array<Guest, 2> a_, b_;  // last: their threads use the above
};

TEST_F(SharedUplinkTest, EachGetsItsOwnAndAllGetWhatIsForAll) {
  for (std::size_t i = 0; i < a_.size(); ++i) {
    const Bytes own = frame(kMacs[i], kClientMac, 5);
    lab_->client_send(own);
    EXPECT_EQ(a_[i].receive(kClientMac), own);
    EXPECT_FALSE(a_[1 - i].receive(kClientMac, kQuiet));
  }
  const Bytes all = frame(kBroadcast, kClientMac, 6);
  lab_->client_send(all);
  for (const Guest& guest : a_) EXPECT_EQ(guest.receive(kClientMac), all);
}

TEST_F(SharedUplinkTest, TheVmsReachEachOtherAndTheirBroadcastsGoOutToo) {
  const Bytes direct = frame(kOtherMac, kVmMac, 7);
  a_[0].send(direct);
  EXPECT_EQ(a_[1].receive(kVmMac), direct);
  EXPECT_FALSE(lab_->client_receive(kQuiet)) << "what is for a VM of this host has no business on the wire";
  const Bytes all = frame(kBroadcast, kVmMac, 8);
  a_[0].send(all);
  EXPECT_EQ(a_[1].receive(kVmMac), all);
  EXPECT_EQ(lab_->client_receive(), all);
}

TEST_F(SharedUplinkTest, AProtectedVmsFramesReachTheOtherOnceReleasedAndItsSecondaryHearsTheOther) {
  protect();
  ASSERT_FALSE(HasFatalFailure());
  const Bytes said = frame(kOtherMac, kVmMac, 9);
  a_[0].send(said);
  EXPECT_FALSE(a_[1].receive(kVmMac, kQuiet)) << "held, like anything else that the VM says";
  b_[0].send(said);
  EXPECT_EQ(a_[1].receive(kVmMac), said);
  const Bytes answer = frame(kVmMac, kOtherMac, 10);
  a_[1].send(answer);
  EXPECT_EQ(a_[0].receive(kOtherMac), answer);
  EXPECT_EQ(b_[0].receive(kOtherMac), answer);
}

TEST_F(SharedUplinkTest, AFailoverOfOneIsNothingToTheOtherNorToTheHost) {
  lab_->in('a', [] { ASSERT_EQ(std::system("ip address add 10.9.0.1/24 dev uplink0"), 0); });
  lab_->in('s', [] { ASSERT_EQ(std::system("ip address add 10.9.0.2/24 dev client"), 0); });
  protect();
  ASSERT_FALSE(HasFatalFailure());
  EXPECT_TRUE(host_reaches_client());
  a_[0].plane.reset();
  b_[0].plane->take_over();
  for (unsigned seed = 20; seed < 30; ++seed) {
    const Bytes to_other = frame(kOtherMac, kClientMac, seed);
    lab_->client_send(to_other);
    EXPECT_EQ(a_[1].receive(kClientMac), to_other);
  }
  const Bytes moved = frame(kVmMac, kClientMac, 31);
  lab_->client_send(moved);
  EXPECT_EQ(b_[0].receive(kClientMac), moved);
  EXPECT_TRUE(host_reaches_client());
}

TEST_F(SharedUplinkTest, AFloodOfOneVmIsNothingToTheOther) {
  for (std::size_t vm = 0; vm < kMacs.size(); ++vm) protect(vm);
  ASSERT_FALSE(HasFatalFailure());
  std::unique_lock stalled(stall_);
  a_[0].plane->set_hold(kMillisecond);  // then a frame without a twin is a divergence
  a_[0].send(frame(kClientMac, kVmMac, 40));
  for (int i = 0; i < 200 && diverged_[0] == 0; ++i) std::this_thread::sleep_for(milliseconds(10));
  ASSERT_EQ(diverged_[0], 1) << "the first VM's plane stands still from here on";

  // Far more than its rings and its memory hold: of its guest, of its twin, and of what the programs leave to it.
  for (unsigned i = 0; i < kFlood; ++i) {
    a_[0].send(frame(kClientMac, kVmMac, 41));
    b_[0].send(frame(kClientMac, kVmMac, 42));
    if (i % (kFlood / 20) != 0) continue;
    // Meanwhile the other VM speaks and is spoken to as always.
    const Bytes said = frame(kClientMac, kOtherMac, i + 1);
    b_[1].send(said);
    a_[1].send(said);
    EXPECT_EQ(lab_->client_receive(std::chrono::seconds(2), kOtherMac), said) << i;
    const Bytes heard = frame(kOtherMac, kClientMac, i + 2);
    lab_->client_send(heard);
    EXPECT_EQ(a_[1].receive(kClientMac), heard) << i;
    EXPECT_EQ(b_[1].receive(kClientMac), heard) << i;
  }
  const auto other = a_[1].plane->stats();
  for (const auto& losses : {other.tap_losses, other.uplink_losses, other.link_losses})
    EXPECT_EQ(losses.ring_full + losses.no_chunk + losses.other, 0U);
  EXPECT_EQ(other.record_frames_lost + other.frames_unsent, 0U);
  EXPECT_EQ(diverged_[1], 0);
  stalled.unlock();
  const auto flooded = a_[0].plane->stats();
  EXPECT_GT(flooded.tap_losses.ring_full + flooded.tap_losses.no_chunk, 0U) << "or it was no flood";
  EXPECT_GT(flooded.link_losses.ring_full + flooded.link_losses.no_chunk, 0U) << "or it was no flood";
}

}  // namespace
}  // namespace twinstep::test
