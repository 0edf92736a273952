// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "arbiter.hpp"
#include "checkers.hpp"
#include "client.hpp"
#include "context.hpp"
#include "faults.hpp"
#include "host.hpp"
#include "link.hpp"

namespace twinstep::sim {

struct Outcome {
  std::optional<Violation> violation;
  std::set<std::string, std::less<>> marks;
  std::uint64_t fingerprint = 0;
};

/// Runs one seed to its end: until the client has all it wanted after the last fault, the VM is lost by more faults
/// than it was made to survive, or an invariant is broken.
Outcome run_seed(std::uint64_t seed, Planted planted = Planted::nothing, bool trace = false);

/// Two hosts, their link, the arbiter, a client, and what goes wrong.
class World : private HostWorld {
 public:
  World(std::uint64_t seed, Planted planted, bool trace);
  Outcome run();

 private:
  void send_to_client(HostIndex host, const Packet& packet) override;
  std::optional<FaultKind> effect_fails(HostIndex host, std::size_t effect) override;
  void vm_ended(HostIndex host) override;

  void send_to_hosts(const Packet& packet);
  void over_the_uplink(const std::function<void()>& delivery);
  void strike(const Fault& fault);
  void quiet_until(Nanos at);
  bool survivable() const;
  void note_loss_of_service(bool by_fault);
  void record_changed(Nanos asked_at);
  void watch();
  void mark_promotion_branches(HostIndex crashed);
  bool over() const;

  Context context_;
  Checkers checkers_;
  Arbiter arbiter_;
  Link link_;
  std::array<std::unique_ptr<Host>, 2> hosts_;
  Client client_;
  std::vector<Fault> faults_;
  std::vector<std::uint64_t> countdown_;  // per fault that waits for an effect; 0: over
  Nanos started_at_ = 0;
  Nanos quiet_at_ = 0;   // the last fault's end
  Nanos struck_at_ = 0;  // the last fault that took a VM away
  bool operator_asked_ = false;
  bool service_lost_ = false;
};

}  // namespace twinstep::sim
