// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <liburing.h>
#include <sys/uio.h>

#include <chrono>
#include <cstddef>
#include <memory>
#include <span>

#include "core/result.hpp"

namespace twinstep::memory {

/// Pieces in one send at most; the kernel takes no more (UIO_MAXIOV).
inline constexpr std::size_t kPiecesMax = 1024;

/// Sends scattered memory over a connected stream socket through an io_uring of its own. Blocks its caller. Another
/// thread ends a send early with ::shutdown(socket, SHUT_RDWR).
class RingSender {
 public:
  /// `socket` stays the caller's. `stall_timeout`: longest time in which no byte may move.
  /// An Error if this system has no io_uring.
  static Result<RingSender> create(int socket, std::chrono::milliseconds stall_timeout);

  /// Sends all pieces in order. `pieces` is used as scratch space: its content is undefined afterwards.
  /// After an Error an unknown part was sent, so the stream is of no more use.
  Result<void> send(std::span<iovec> pieces);

 private:
  struct CloseRing {
    void operator()(io_uring* ring) const;
  };
  using Ring = std::unique_ptr<io_uring, CloseRing>;

  RingSender(int socket, std::chrono::milliseconds stall_timeout, Ring ring);
  Result<std::size_t> send_once(std::span<iovec> pieces);

  int socket_;
  std::chrono::milliseconds stall_timeout_;
  Ring ring_;
};

}  // namespace twinstep::memory
