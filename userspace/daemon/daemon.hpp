// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "core/result.hpp"
#include "daemon/config.hpp"
#include "daemon/control.hpp"
#include "daemon/plane/fabric.hpp"
#include "daemon/vm/vm.hpp"
#include "io/arbiter.hpp"
#include "io/control_link.hpp"
#include "io/heartbeat.hpp"

namespace twinstep::daemon {

/// One host's daemon: its VMs, the connection to the other host, and what operators ask of it.
class Daemon {
 public:
  /// Starts everything that `config` names, which must outlive the daemon. Errors: an address, a device or a port that
  /// can't be used, another daemon in the same run directory.
  static Result<std::unique_ptr<Daemon>> start(const Config& config);
  /// Hands protected VMs over, ends the others, undoes all that was set up.
  ~Daemon();
  Daemon(const Daemon&) = delete;
  Daemon& operator=(const Daemon&) = delete;

 private:
  Daemon(const Config& config, std::unique_ptr<io::Arbiter> arbiter);
  Result<void> make_fabric();
  Result<void> connect();
  Result<void> beat();
  void to_all(const session::Event& event);
  void deliver(wire::Envelope&& envelope);
  nlohmann::json answer(const nlohmann::json& request);
  Result<nlohmann::json> answer_vms(const nlohmann::json& request, Result<nlohmann::json> (Vm::*question)());
  Result<nlohmann::json> set_mode(const nlohmann::json& request);
  Result<nlohmann::json> command(const nlohmann::json& request);
  Vm* find(const std::string& name);

  const Config& config_;
  std::unique_ptr<io::Arbiter> arbiter_;
  std::unique_ptr<Fabric> fabric_;
  std::vector<std::unique_ptr<Vm>> vms_;  // all there from the constructor on
  std::unique_ptr<io::ControlLink> link_;
  std::unique_ptr<io::Heartbeat> heartbeat_;
  std::unique_ptr<ControlServer> control_;
};

}  // namespace twinstep::daemon
