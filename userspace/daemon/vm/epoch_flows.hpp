// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "core/result.hpp"
#include "daemon/plane/plane.hpp"

namespace twinstep::daemon {

/// The image's meta bytes: for each NIC, where each flow's stream starts in the new epoch, and how the clients' numbers
/// differ.
std::vector<std::byte> encode(std::span<const EpochFlows> nics);
/// An Error if the bytes are no such thing, or of another number of NICs.
Result<std::vector<EpochFlows>> decode_epoch_flows(std::span<const std::byte> bytes, std::size_t nics);

}  // namespace twinstep::daemon
