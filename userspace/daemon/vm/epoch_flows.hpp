// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "core/result.hpp"
#include "daemon/plane/plane.hpp"

namespace twinstep::daemon {

/// The image's meta bytes: where each flow's stream starts in the new epoch, and how the clients' numbers differ.
std::vector<std::byte> encode(const EpochFlows& flows);
/// An Error if the bytes are no such thing.
Result<EpochFlows> decode_epoch_flows(std::span<const std::byte> bytes);

}  // namespace twinstep::daemon
