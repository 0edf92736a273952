// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "context.hpp"
#include "core/session/machine.hpp"

namespace twinstep::sim {

enum class FaultKind : std::uint8_t {
  host_crash,      ///< everything on the host ends
  qemu_death,      ///< the VM's process ends
  link_cut,        ///< nothing passes between the hosts, for a while or for good
  arbiter_outage,  ///< for a while
  operator_failover,
  step_failure,  ///< one effect can't be carried out
  beyond_bound,  ///< a checkpoint can't carry what it would have to
};

/// One thing that goes wrong in a run: at a time, or when a host is about to carry out an effect of a kind for the nth
/// time, so that every gap between two effects is hit sooner or later.
struct Fault {
  FaultKind kind = FaultKind::host_crash;
  HostIndex host = kHostA;
  Nanos at_ns = 0;         ///< after the start; 0: by effect
  std::size_t effect = 0;  ///< index in session::Effect
  std::uint64_t nth = 0;
  Nanos lasts_ns = 0;   ///< cut, outage, and how long a crashed host stays away; 0: for good
  bool silent = false;  ///< crash: no packet tells the peer
};

/// Draws one or two faults.
std::vector<Fault> draw_faults(Random& random);
std::string describe(const Fault& fault);

}  // namespace twinstep::sim
