// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

namespace twinstep::cli {

/// What can be done with an object: one request to the daemon.
struct Command {
  std::string name;
  bool needs_name;                       ///< acts on one VM, which must be given by `name`
  bool changes;                          ///< success prints nothing (null in JSON)
  std::vector<std::string> values = {};  ///< of which one must be given, and goes out under the command's name
};

/// One OBJECT of the command line: its commands, and how it is shown as text.
struct Object {
  std::string name;
  std::vector<Command> commands;
  std::string usage;               ///< lines for help
  std::vector<std::string> title;  ///< keys whose values begin the first line, the first one before a colon
  std::vector<std::vector<std::string>>
      lines;  ///< keys, line by line; the first goes on after the title, the rest is indented
};

Object vm_object();
Object checkpoint_object();
Object flow_object();
Object nic_object();

}  // namespace twinstep::cli
