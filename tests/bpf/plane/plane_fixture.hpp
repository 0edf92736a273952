// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <gtest/gtest.h>

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "daemon/plane/fabric.hpp"
#include "daemon/plane/plane.hpp"
#include "net_lab.hpp"

namespace twinstep::test {

/// A VM on one host, its guest played by the test.
struct Guest {
  std::optional<io::Tap> tap;
  std::unique_ptr<daemon::Plane> plane;  // after the tap, which it uses

  void send(const Bytes& frame) const;
  /// The next frame from `source`; the switch has a word of its own now and then.
  std::optional<Bytes> receive_from(const Mac& source,
                                    std::chrono::milliseconds patience = std::chrono::seconds(2)) const;
  /// The client's next.
  std::optional<Bytes> receive(std::chrono::milliseconds patience = std::chrono::seconds(2)) const {
    return receive_from(kClientMac, patience);
  }
};

struct Host {
  std::unique_ptr<daemon::Fabric> fabric;
  std::vector<Guest> guests;  // after the fabric, which they use
  io::MacAddress link_mac{};
};

/// Two hosts in a lab, with planes that the test drives as two daemons would.
class PlaneFixture : public ::testing::Test {
 protected:
  static constexpr std::chrono::milliseconds kQuiet{150};
  static constexpr std::uint16_t kFirstVmId = 7;

  /// A lab, or a skip.
  void SetUp() override;

  /// Which VM of its host, counted from 0.
  using OnVmDiverged = std::function<void(std::size_t vm, const compare::Diverged& diverged)>;

  /// Gives the host, anew, a VM for each address, all behind its one uplink; their numbers follow kFirstVmId.
  /// on_diverged: called by a plane's thread.
  void start(char name, Host& host, std::span<const Mac> macs, const OnVmDiverged& on_diverged = ignore);
  static void ignore(std::size_t /*vm*/, const compare::Diverged& /*diverged*/) {}

  /// The VMs of one number become a pair. seed: of its key.
  static void pair(const Host& primary, const Host& secondary, std::size_t vm, unsigned seed = 4);
  /// A whole checkpoint.
  static void checkpoint(std::uint32_t epoch, const Guest& primary, const Guest& secondary);

  NetLab::Options options_;  ///< of the lab; to be set in a constructor
  bool busy_poll_ = false;   ///< of the planes, likewise
  std::optional<NetLab> lab_;
};

/// One VM, protected.
class ProtectedVmFixture : public PlaneFixture {
 protected:
  void SetUp() override;
  /// The planes' threads are gone before a test's own members are.
  void TearDown() override;

  /// Called by the primary plane's thread.
  virtual void on_diverged(const compare::Diverged& /*diverged*/) {}

  Guest& pvm() { return a_.guests.front(); }
  Guest& svm() { return b_.guests.front(); }
  /// The next one.
  void checkpoint() { PlaneFixture::checkpoint(++epoch_, pvm(), svm()); }

  std::uint32_t epoch_ = 0;
  Host a_, b_;
};

}  // namespace twinstep::test
