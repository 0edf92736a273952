// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "core/result.hpp"

namespace twinstep::qemu {

/// The user's QEMU arguments, the machine taken out, as Twinstep adds a property to it.
struct UserArgs {
  std::optional<std::string> machine;
  std::vector<std::string> rest;
};

/// Takes -machine (-M) out. An Error if there are two, or one names its own memory backend.
Result<UserArgs> take_machine(const std::vector<std::string>& args);

/// Refuses arguments that would undo what protection needs, or that bring state it doesn't cover, in a sentence that
/// names the argument and the reason. `qmp_path`: the monitor socket that is Twinstep's own.
Result<void> check_user_args(const std::vector<std::string>& args, const std::filesystem::path& qmp_path);

}  // namespace twinstep::qemu
