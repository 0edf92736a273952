// SPDX-License-Identifier: Apache-2.0
#include "plane_fixture.hpp"

#include <poll.h>
#include <unistd.h>

namespace twinstep::test {
namespace {

constexpr std::uint32_t kUmemFrames = 16384;
constexpr std::size_t kLentFlowsMax = 16;

}  // namespace

void Guest::send(const Bytes& frame) const {
  ASSERT_EQ(::write(tap->fd(), frame.data(), frame.size()), static_cast<ssize_t>(frame.size()));
}

std::optional<Bytes> Guest::receive_from(const Mac& source, std::chrono::milliseconds patience) const {
  for (;;) {
    pollfd entry{tap->fd(), POLLIN, 0};
    if (::poll(&entry, 1, static_cast<int>(patience.count())) != 1) return std::nullopt;
    Bytes frame(16384);
    const auto bytes = ::read(tap->fd(), frame.data(), frame.size());
    if (bytes <= 0) return std::nullopt;
    frame.resize(static_cast<std::size_t>(bytes));
    if (comes_from(frame, source)) return frame;
  }
}

void PlaneFixture::SetUp() {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root: CAP_NET_ADMIN and CAP_BPF for namespaces and XDP";
  lab_.emplace(options_);
  ASSERT_EQ(lab_->failure(), "");
}

void PlaneFixture::start(char name, Host& host, std::span<const Mac> macs, const OnVmDiverged& on_diverged) {
  lab_->in(name, [&] {
    host.guests.clear();
    host.fabric.reset();  // a host has one
    const auto mac = io::device_mac("link0");
    ASSERT_TRUE(mac) << mac.error().message;
    host.link_mac = *mac;
    std::vector<daemon::FabricNic> nics;
    for (const Mac& each : macs) nics.push_back({"uplink0", each, kUmemFrames});
    auto fabric = daemon::Fabric::create("link0", nics);
    ASSERT_TRUE(fabric) << fabric.error().message;
    host.fabric = std::move(*fabric);
    for (std::size_t i = 0; i < macs.size(); ++i) {
      auto tap = io::Tap::create("tap" + std::to_string(i), options_.mtu, io::GuestOffloads::off);
      ASSERT_TRUE(tap) << tap.error().message;
      Guest& guest = host.guests.emplace_back();
      guest.tap.emplace(std::move(*tap));
    }
    for (std::size_t i = 0; i < macs.size(); ++i) {
      daemon::PlaneConfig config;
      config.slot = static_cast<std::uint32_t>(i);
      config.uplink = "uplink0";
      config.vm_mac = macs[i];
      config.vm_id = static_cast<std::uint16_t>(kFirstVmId + i);
      config.limits.lent_flows_max = kLentFlowsMax;
      config.busy_poll = busy_poll_;
      auto plane = daemon::Plane::create(
          config, *host.fabric, *host.guests[i].tap,
          [i, on_diverged](std::uint32_t /*epoch*/, const compare::Diverged& diverged) { on_diverged(i, diverged); });
      ASSERT_TRUE(plane) << plane.error().message;
      host.guests[i].plane = std::move(*plane);
    }
  });
}

void PlaneFixture::pair(const Host& primary, const Host& secondary, std::size_t vm, unsigned seed) {
  const Bytes bytes = pattern(16, seed);
  const auto key = compare::DigestKey::from_seed(std::span<const std::byte, 16>(bytes));
  const auto id = static_cast<std::uint16_t>(kFirstVmId + vm);
  ASSERT_TRUE(primary.guests[vm].plane->pair(key, id, secondary.link_mac));
  ASSERT_TRUE(secondary.guests[vm].plane->pair(key, id, primary.link_mac));
  primary.guests[vm].plane->set_hold(20 * kSecond);  // no stall may come between a test's steps
}

void PlaneFixture::checkpoint(std::uint32_t epoch, const Guest& primary, const Guest& secondary) {
  ASSERT_TRUE(secondary.plane->standby_stop(epoch));
  const auto flows = primary.plane->begin_epoch(epoch);
  primary.plane->resume_input();
  primary.plane->commit(epoch);
  secondary.plane->standby_begin(epoch, flows);
  primary.plane->svm_running(epoch);
}

void ProtectedVmFixture::SetUp() {
  PlaneFixture::SetUp();
  if (IsSkipped() || HasFatalFailure()) return;
  start('a', a_, std::span(&kVmMac, 1),
        [this](std::size_t /*vm*/, const compare::Diverged& diverged) { on_diverged(diverged); });
  start('b', b_, std::span(&kVmMac, 1));
  if (HasFatalFailure()) return;
  pair(a_, b_, 0);
  pvm().plane->direct();
  svm().plane->standby();
  checkpoint();
}

void ProtectedVmFixture::TearDown() {
  a_.guests.clear();
  b_.guests.clear();
}

}  // namespace twinstep::test
