// SPDX-License-Identifier: Apache-2.0
#include "memory/ring_sender.hpp"

#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <stdexcept>
#include <string>

#include "memory/os_error.hpp"

namespace twinstep::memory {
namespace {

constexpr unsigned kRingEntries = 8;
// user_data of the timeout; that of a send is its slot.
constexpr std::uint64_t kTimeout = RingSender::kSlots;
// Smaller sends cost less with a copy.
constexpr std::size_t kZeroCopyBytesMin = 16384;
// Linux 6.2; not in liburing 2.3.
constexpr unsigned kReportUsage = 1U << 3;
constexpr unsigned kUsageCopied = 1U << 31;

std::size_t bytes_of(std::span<const iovec> pieces) {
  std::size_t bytes = 0;
  for (const iovec& piece : pieces) bytes += piece.iov_len;
  return bytes;
}

// Drops the first `bytes` of the pieces.
std::span<iovec> advance(std::span<iovec> pieces, std::size_t bytes) {
  while (!pieces.empty() && bytes >= pieces.front().iov_len) {
    bytes -= pieces.front().iov_len;
    pieces = pieces.subspan(1);
  }
  if (bytes > 0) {
    pieces.front().iov_base = static_cast<std::byte*>(pieces.front().iov_base) + bytes;
    pieces.front().iov_len -= bytes;
  }
  return pieces;
}

// The answers of a kernel, a socket or a limit that has nothing to do with zero-copy sends; nothing was sent.
bool refuses_zero_copy(int result) {
  return result == -EINVAL || result == -EOPNOTSUPP || result == -ENOMEM || result == -ENOBUFS;
}

__kernel_timespec timespec_of(std::chrono::milliseconds time) {
  __kernel_timespec spec{};
  spec.tv_sec = time.count() / 1000;
  spec.tv_nsec = time.count() % 1000 * 1'000'000;
  return spec;
}

}  // namespace

void RingSender::CloseRing::operator()(io_uring* ring) const {
  io_uring_queue_exit(ring);
  delete ring;
}

RingSender::RingSender(std::chrono::milliseconds stall_timeout, Ring ring)
    : stall_timeout_(stall_timeout), ring_(std::move(ring)) {}

Result<RingSender> RingSender::create(int socket, std::chrono::milliseconds stall_timeout) {
  auto memory = std::make_unique<io_uring>();
  if (const int error = io_uring_queue_init(kRingEntries, memory.get(), 0); error < 0) {
    return fail("cannot set up io_uring, which sends memory images: " + os_message(-error) +
                " (is it switched off by the sysctl kernel.io_uring_disabled?)");
  }
  Ring ring(memory.release());
  if (const int error = io_uring_register_files(ring.get(), &socket, 1); error < 0)
    return fail("cannot register the page stream with io_uring: " + os_message(-error));
  return RingSender(stall_timeout, std::move(ring));
}

Result<void> RingSender::send(std::span<iovec> pieces, std::size_t slot) {
  while (!pieces.empty()) {
    const auto sent = send_once(pieces.first(std::min(pieces.size(), kPiecesMax)), slot);
    if (!sent) return tl::unexpected(sent.error());
    pieces = advance(pieces, *sent);
  }
  return {};
}

Result<std::size_t> RingSender::send_once(std::span<iovec> pieces, std::size_t slot) {
  const bool zero_copy = may_zero_copy_ && bytes_of(pieces) >= kZeroCopyBytesMin;
  auto sent = submit(pieces, slot, zero_copy);
  if (sent && zero_copy && refuses_zero_copy(*sent)) {
    may_zero_copy_ = false;
    sent = submit(pieces, slot, false);
  }
  if (!sent) return tl::unexpected(sent.error());
  if (*sent == -ECANCELED || *sent == -EINTR) {
    return fail("the peer took nothing of a memory image for " + std::to_string(stall_timeout_.count()) + " ms");
  }
  if (*sent < 0) return fail("cannot send a memory image: " + os_message(-*sent));
  return static_cast<std::size_t>(*sent);
}

// One send with a timeout linked to it. Waits for both completions; of a send without a copy, the kernel tells later
// that it has released the memory. Returns what was sent, or a negative errno.
Result<int> RingSender::submit(std::span<iovec> pieces, std::size_t slot, bool zero_copy) {
  msghdr message{};
  message.msg_iov = pieces.data();
  message.msg_iovlen = pieces.size();
  auto timeout = timespec_of(stall_timeout_);

  io_uring_sqe* const send = io_uring_get_sqe(ring_.get());
  io_uring_sqe* const limit = io_uring_get_sqe(ring_.get());
  if (send == nullptr || limit == nullptr) throw std::logic_error("a send was left in the ring");
  constexpr int kRegisteredSocket = 0;
  if (zero_copy) {
    io_uring_prep_sendmsg_zc(send, kRegisteredSocket, &message, MSG_NOSIGNAL);
    send->ioprio |= kReportUsage;
  } else {
    io_uring_prep_sendmsg(send, kRegisteredSocket, &message, MSG_NOSIGNAL);
  }
  io_uring_sqe_set_data64(send, slot);
  send->flags |= IOSQE_IO_LINK | IOSQE_FIXED_FILE;
  io_uring_prep_link_timeout(limit, &timeout, 0);
  io_uring_sqe_set_data64(limit, kTimeout);

  int submitted = io_uring_submit(ring_.get());
  while (submitted == -EINTR || submitted == -EAGAIN) submitted = io_uring_submit(ring_.get());
  if (submitted < 0) return fail("cannot send a memory image: " + os_message(-submitted));

  int sent = 0;
  for (int awaited = 2; awaited > 0;) {
    io_uring_cqe* completion = nullptr;
    const int error = io_uring_wait_cqe(ring_.get(), &completion);
    if (error == -EINTR) continue;
    if (error < 0) throw std::logic_error("io_uring lost a completion");
    if ((completion->flags & IORING_CQE_F_NOTIF) != 0) {
      note_released(*completion);
    } else {
      if (io_uring_cqe_get_data64(completion) != kTimeout) {
        sent = completion->res;
        if ((completion->flags & IORING_CQE_F_MORE) != 0) ++in_use_[slot];
      }
      --awaited;
    }
    io_uring_cqe_seen(ring_.get(), completion);
  }
  return sent;
}

void RingSender::note_released(const io_uring_cqe& completion) {
  --in_use_[completion.user_data];
  ++zero_copy_tellings_;
  if ((static_cast<unsigned>(completion.res) & kUsageCopied) != 0) may_zero_copy_ = false;
}

Result<void> RingSender::wait_free(std::size_t slot) {
  while (in_use_[slot] > 0) {
    auto timeout = timespec_of(stall_timeout_);
    io_uring_cqe* completion = nullptr;
    const int error = io_uring_wait_cqe_timeout(ring_.get(), &completion, &timeout);
    if (error == -EINTR) continue;
    if (error == -ETIME) {
      return fail("the peer acknowledged nothing of a memory image for " + std::to_string(stall_timeout_.count()) +
                  " ms");
    }
    if (error < 0) throw std::logic_error("io_uring lost a completion");
    note_released(*completion);
    io_uring_cqe_seen(ring_.get(), completion);
  }
  return {};
}

Result<void> RingSender::wait_all_free() {
  for (std::size_t slot = 0; slot < kSlots; ++slot) {
    if (auto freed = wait_free(slot); !freed) return freed;
  }
  return {};
}

}  // namespace twinstep::memory
