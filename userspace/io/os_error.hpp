// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cerrno>
#include <string>
#include <system_error>

#include "core/result.hpp"

namespace twinstep::io {

/// An Error of the form "WHAT: the system's words for `error`". error: an errno value, by default the current one.
inline tl::unexpected<Error> fail_os(const std::string& what, int error = errno) {
  return fail(what + ": " + std::generic_category().message(error));
}

}  // namespace twinstep::io
