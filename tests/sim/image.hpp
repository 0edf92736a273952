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

/// How flows' numbers differ between the guest that runs and what the client sees.
using Translations = std::map<FlowKey, ts_translation>;

/// What a checkpoint carries from the primary to the secondary.
struct Image {
  ImageId id = 0;
  std::uint32_t epoch = 0;
  GuestState state;
  std::vector<compare::FlowBase> bases;
  Translations translations;  ///< of flows that outlived an earlier failover
};

}  // namespace twinstep::sim
