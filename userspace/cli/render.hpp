// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "cli/object.hpp"
#include "cli/options.hpp"

namespace twinstep::cli {

/// The daemon's model (one object or an array of them) as text; keys that the object's layout doesn't name come last.
/// Empty model: empty text.
std::string render_plain(const Object& object, const nlohmann::ordered_json& model, bool numeric);

/// Any model as JSON, with the line's end.
std::string render_json(const nlohmann::ordered_json& model, bool pretty);

}  // namespace twinstep::cli
