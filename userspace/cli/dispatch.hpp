// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "cli/options.hpp"
#include "core/result.hpp"

namespace twinstep::cli {

/// What a command leaves to be printed.
struct Output {
  nlohmann::ordered_json json;  ///< under -j
  std::string text;             ///< otherwise
  bool is_help = false;         ///< text goes to stderr, also under -j
};

/// Carries out OBJECT [COMMAND] [ARGUMENTS]. Errors: unknown or ambiguous words, and what the daemon refuses.
Result<Output> run(const Options& options, const std::vector<std::string>& words);

/// The commands of `path`, one per line; "-" is standard input. Empty lines and what follows # are skipped. Ends at the
/// first command that fails.
Result<Output> run_batch(const Options& options, const std::string& path);

/// The one word of `candidates` that is `word` or, if none is, the only one that begins with it. what: for the error.
Result<std::string> resolve(const std::string& word, const std::vector<std::string>& candidates,
                            const std::string& what);

std::string usage();

}  // namespace twinstep::cli
