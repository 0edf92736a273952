// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "core/result.hpp"
#include "daemon/config.hpp"

namespace twinstep::daemon {

/// Checks that this process, this kernel and this host have what `config` needs. Kernel features are tried out, not
/// guessed from a version; nothing is left behind. The Error is the first thing that is missing, in one sentence with
/// its remedy.
Result<void> check_capabilities(const Config& config);

}  // namespace twinstep::daemon
