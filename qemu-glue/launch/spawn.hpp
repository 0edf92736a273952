// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/types.h>

#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include "core/result.hpp"

namespace twinstep::qemu {

/// Runs a program, found by PATH: in a process group of its own, killed when the calling thread ends, standard input
/// empty, output and errors written to `log`, no other descriptors than `inherited` under their numbers. Returns once
/// it has been executed.
Result<pid_t> spawn(const std::vector<std::string>& args, const std::filesystem::path& log,
                    std::span<const int> inherited);

}  // namespace twinstep::qemu
