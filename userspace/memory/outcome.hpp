// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <mutex>
#include <optional>
#include <utility>

#include "core/result.hpp"

namespace twinstep::memory {

/// What several threads have come to: the first Error, if there is one; those that follow are its consequences.
class Outcome {
 public:
  /// Returns whether it is the first.
  bool add(Error error) {
    const std::lock_guard lock(mutex_);
    if (error_) return false;
    error_ = std::move(error);
    return true;
  }
  /// When all threads have come to an end.
  const std::optional<Error>& error() const { return error_; }

 private:
  std::mutex mutex_;
  std::optional<Error> error_;
};

}  // namespace twinstep::memory
