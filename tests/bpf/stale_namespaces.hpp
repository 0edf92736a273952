// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

namespace twinstep::test {

/// Removes the network namespaces that runs which were killed have left: those named `prefix`, a process's number and
/// one letter, if there is no such process any more (ip-netns(8) keeps them in /run/netns).
void remove_stale_namespaces(const std::string& prefix);

}  // namespace twinstep::test
