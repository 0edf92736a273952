// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <cstddef>
#include <span>

#include "core/result.hpp"

namespace twinstep::memory {

/// Reads exact amounts from a connected stream socket. Blocks its caller. Another thread ends a read early with
/// ::shutdown(socket, SHUT_RDWR).
class SocketReader {
 public:
  /// `socket` stays the caller's.
  explicit SocketReader(int socket) : socket_(socket) {}

  /// Waits until there is something to read. An Error after `timeout`.
  Result<void> wait(std::chrono::milliseconds timeout) const;
  /// Fills all of `to`. An Error if the stream ends before that, or no byte comes for `stall_timeout`.
  Result<void> read(std::span<std::byte> to, std::chrono::milliseconds stall_timeout) const;

 private:
  int socket_;
};

}  // namespace twinstep::memory
