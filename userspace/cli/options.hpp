// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

namespace twinstep::cli {

/// What is said before the object on the command line.
struct Options {
  bool json = false;
  bool pretty = false;   ///< implies json
  bool debug = false;    ///< requests and replies on stderr
  bool numeric = false;  ///< plain text: the JSON's keys and plain numbers, no units
  std::string socket = "/run/twinstep/control.sock";
};

}  // namespace twinstep::cli
