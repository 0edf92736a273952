// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <nlohmann/json.hpp>

#include "cli/options.hpp"
#include "core/result.hpp"

namespace twinstep::cli {

/// Asks the daemon and returns its `result`. Errors: no daemon, no permission, no answer in time, or the daemon's own
/// `error`.
Result<nlohmann::ordered_json> ask(const Options& options, const nlohmann::ordered_json& request);

}  // namespace twinstep::cli
