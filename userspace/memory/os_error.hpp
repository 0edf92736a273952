// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cerrno>
#include <string>
#include <system_error>

#include "core/result.hpp"

namespace twinstep::memory {

/// The system's words for an errno value. Unlike strerror it may be called from any thread.
inline std::string os_message(int error) {
  return std::generic_category().message(error);
}

/// An Error that says what could not be done and the system's reason for it, errno.
inline tl::unexpected<Error> fail_errno(const std::string& what) {
  const int error = errno;
  return fail(what + ": " + os_message(error));
}

}  // namespace twinstep::memory
