// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <gtest/gtest.h>

#include <array>
#include <string>

#include "plane_fixture.hpp"

namespace twinstep::test {

/// A VM on both hosts behind uplink0, whatever that is.
class UplinkFixture : public PlaneFixture {
 protected:
  void start_both() {
    start('a', a_, kMacs);
    start('b', b_, kMacs);
  }
  Guest& a() { return a_.guests[0]; }
  Guest& b() { return b_.guests[0]; }

  /// Solo and protected, the VM speaks with the client.
  void expect_traffic() {
    a().plane->direct();
    const Bytes asked = frame(kVmMac, kClientMac, 1);
    lab_->client_send(asked);
    EXPECT_EQ(a().receive(), asked);
    const Bytes answered = frame(kClientMac, kVmMac, 2);
    a().send(answered);
    EXPECT_EQ(lab_->client_receive(), answered);

    lab_->in('a', [&] {
      const auto proven = a().plane->prove_host();
      EXPECT_TRUE(proven) << proven.error().message;
    });
    pair(a_, b_, 0);
    b().plane->standby();
    checkpoint(1, a(), b());
    const Bytes to_both = frame(kVmMac, kClientMac, 3);
    lab_->client_send(to_both);
    EXPECT_EQ(a().receive(), to_both);
    EXPECT_EQ(b().receive(), to_both);
    const Bytes said = frame(kClientMac, kVmMac, 4);
    a().send(said);
    EXPECT_FALSE(lab_->client_receive(kQuiet)) << "nothing may leave before the SVM has produced it";
    b().send(said);
    EXPECT_EQ(lab_->client_receive(), said);
  }
  /// Why host a can't have a VM behind uplink0.
  std::string refusal() {
    std::string message;
    lab_->in('a', [&] {
      auto fabric = daemon::Fabric::create("link0", {{"uplink0", kVmMac, 16384}});
      const auto tap = io::Tap::create("tap", 1500, io::GuestOffloads::off);
      ASSERT_TRUE(fabric && tap);
      daemon::PlaneConfig config;
      config.uplink = "uplink0";
      config.vm_mac = kVmMac;
      const auto plane = daemon::Plane::create(config, **fabric, *tap, [](std::uint32_t, const compare::Diverged&) {});
      message = plane ? "none" : plane.error().message;
    });
    return message;
  }

  static Bytes frame(const Mac& to, const Mac& from, unsigned seed) {
    return ethernet(to, from, 0x88b6, pattern(100, seed));
  }

  static constexpr std::array<Mac, 1> kMacs{kVmMac};
  Host a_, b_;
};

}  // namespace twinstep::test
