// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <tl/expected.hpp>
#include <utility>

namespace twinstep {

/// What went wrong, in one sentence that names the cause and, where there is one, the remedy. Shown to the user as it
/// is.
struct Error {
  std::string message;
};

/// A value or an Error. Exceptions are for broken invariants only.
template <typename T>
using Result = tl::expected<T, Error>;

/// Makes the error alternative of any Result.
inline tl::unexpected<Error> fail(std::string message) {
  return tl::unexpected<Error>(Error{std::move(message)});
}

}  // namespace twinstep
