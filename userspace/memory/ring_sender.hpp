// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <liburing.h>
#include <sys/uio.h>

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "core/result.hpp"

namespace twinstep::memory {

/// Pieces in one send at most; the kernel takes no more (UIO_MAXIOV).
inline constexpr std::size_t kPiecesMax = 1024;

/// Sends scattered memory over a connected stream socket through an io_uring of its own, in which the socket is
/// registered. Without a copy where the NIC can read the memory itself: the kernel is asked to tell what it did, and
/// once it says that it copied all the same, or can't tell, everything is sent the ordinary way, which then costs less.
/// Blocks its caller. Another thread ends a send early with ::shutdown(socket, SHUT_RDWR).
class RingSender {
 public:
  /// Sends whose memory the kernel may be reading at the same time are told apart by numbers below this.
  static constexpr std::size_t kSlots = 4;

  /// `socket` stays the caller's. `stall_timeout`: longest time in which no byte may move.
  /// An Error if this system has no io_uring.
  static Result<RingSender> create(int socket, std::chrono::milliseconds stall_timeout);

  /// Sends all pieces in order. Their memory must stay as it is until wait_free(slot). `pieces` is used as scratch
  /// space: its content is undefined afterwards.
  /// After an Error an unknown part was sent, so the stream is of no more use.
  Result<void> send(std::span<iovec> pieces, std::size_t slot);
  /// Waits until the memory of what was sent under `slot` isn't read any more: at most the stall timeout.
  Result<void> wait_free(std::size_t slot);
  Result<void> wait_all_free();

  /// Whether the kernel sends without a copy, as far as it has told.
  bool zero_copy() const { return zero_copy_tellings_ > 0 && may_zero_copy_; }

 private:
  struct CloseRing {
    void operator()(io_uring* ring) const;
  };
  using Ring = std::unique_ptr<io_uring, CloseRing>;

  RingSender(std::chrono::milliseconds stall_timeout, Ring ring);
  Result<std::size_t> send_once(std::span<iovec> pieces, std::size_t slot);
  Result<int> submit(std::span<iovec> pieces, std::size_t slot, bool zero_copy);
  void note_released(const io_uring_cqe& completion);

  std::chrono::milliseconds stall_timeout_;
  Ring ring_;
  std::array<unsigned, kSlots> in_use_{};  // sends of each slot that the kernel hasn't released yet
  bool may_zero_copy_ = true;
  std::uint64_t zero_copy_tellings_ = 0;
};

}  // namespace twinstep::memory
