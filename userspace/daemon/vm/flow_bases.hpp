// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "core/compare/comparer.hpp"
#include "core/result.hpp"

namespace twinstep::daemon {

/// The image's meta bytes: where each flow's stream starts in the new epoch.
std::vector<std::byte> encode_flow_bases(std::span<const compare::FlowBase> bases);
/// An Error if the bytes are not whole flow bases.
Result<std::vector<compare::FlowBase>> decode_flow_bases(std::span<const std::byte> bytes);

}  // namespace twinstep::daemon
