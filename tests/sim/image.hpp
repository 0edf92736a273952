// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <map>
#include <vector>

#include "core/compare/comparer.hpp"
#include "guest.hpp"

namespace twinstep::sim {

/// Counts all checkpoints' images of a run, from 1. 0: before the first.
using ImageId = std::uint64_t;

/// How a flow's numbers differ between the guest that runs and what the client sees.
using Differences = std::map<FlowKey, std::uint32_t>;

/// What a checkpoint carries from the primary to the secondary.
struct Image {
  ImageId id = 0;
  std::uint32_t epoch = 0;
  GuestState state;
  std::vector<compare::FlowBase> bases;
  Differences outlived;  ///< of flows that outlived an earlier failover
};

}  // namespace twinstep::sim
