// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "daemon/plane/plane.hpp"

namespace twinstep::daemon {

/// As OnDiverged, with the number of the NIC whose output it is.
using OnNicDiverged = std::function<void(std::size_t nic, std::uint32_t epoch, const compare::Diverged&)>;

/// The packet planes of all NICs of a VM on one host, which have their epochs, roles and gates in common: each call
/// does to every NIC what Plane says, and the VM has one checkpoint whichever NIC asks for it. A list has one element
/// for each NIC, in the configuration's order.
class Planes {
 public:
  /// One NIC's plane.
  struct Nic {
    PlaneConfig config;
    const io::Tap& tap;  ///< must outlive the planes
  };
  /// fabric must outlive the planes.
  static Result<std::unique_ptr<Planes>> create(const std::vector<Nic>& nics, Fabric& fabric,
                                                const OnNicDiverged& on_diverged);

  Result<void> pair(const compare::DigestKey& key, std::uint16_t vm_id, io::MacAddress link_peer_mac);

  /// With an Error the first NIC that has one.
  Result<void> prove_host();
  Result<void> prove_link();

  void direct();
  Result<void> standby();

  void shut_input();

  // Primary
  std::vector<EpochFlows> begin_epoch(std::uint32_t epoch, bool svm_rests);
  void resume_input();
  void commit(std::uint32_t epoch);
  void svm_running(std::uint32_t epoch);
  void set_hold(Nanos hold_ns);
  void release_all_and_direct();
  void discard_and_close();

  // Secondary
  void occupy_reader();
  /// With an Error every NIC is still in its old epoch.
  Result<void> standby_stop(std::uint32_t next_epoch);
  void standby_return();
  void standby_begin(std::uint32_t epoch, const std::vector<EpochFlows>& flows);
  /// Returns what it did, over all NICs.
  FailoverStats take_over();

  std::size_t size() const { return planes_.size(); }
  Plane& at(std::size_t nic) { return *planes_.at(nic); }

 private:
  Planes() = default;
  std::vector<std::unique_ptr<Plane>> planes_;
};

}  // namespace twinstep::daemon
