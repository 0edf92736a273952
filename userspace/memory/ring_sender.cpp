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

// One send and the timeout linked to it.
constexpr unsigned kRingEntries = 2;
constexpr std::uint64_t kSend = 1;

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

}  // namespace

void RingSender::CloseRing::operator()(io_uring* ring) const {
  io_uring_queue_exit(ring);
  delete ring;
}

RingSender::RingSender(int socket, std::chrono::milliseconds stall_timeout, Ring ring)
    : socket_(socket), stall_timeout_(stall_timeout), ring_(std::move(ring)) {}

Result<RingSender> RingSender::create(int socket, std::chrono::milliseconds stall_timeout) {
  auto memory = std::make_unique<io_uring>();
  if (const int error = io_uring_queue_init(kRingEntries, memory.get(), 0); error < 0) {
    return fail("cannot set up io_uring, which sends memory images: " + os_message(-error) +
                " (is it switched off by the sysctl kernel.io_uring_disabled?)");
  }
  return RingSender(socket, stall_timeout, Ring(memory.release()));
}

Result<void> RingSender::send(std::span<iovec> pieces) {
  while (!pieces.empty()) {
    const auto sent = send_once(pieces.first(std::min(pieces.size(), kPiecesMax)));
    if (!sent) return tl::unexpected(sent.error());
    pieces = advance(pieces, *sent);
  }
  return {};
}

// One SENDMSG with a timeout linked to it. Waits for both completions, so that no memory is in use afterwards.
Result<std::size_t> RingSender::send_once(std::span<iovec> pieces) {
  msghdr message{};
  message.msg_iov = pieces.data();
  message.msg_iovlen = pieces.size();
  __kernel_timespec timeout{};
  timeout.tv_sec = stall_timeout_.count() / 1000;
  timeout.tv_nsec = stall_timeout_.count() % 1000 * 1'000'000;

  io_uring_sqe* const send = io_uring_get_sqe(ring_.get());
  io_uring_sqe* const limit = io_uring_get_sqe(ring_.get());
  if (send == nullptr || limit == nullptr) throw std::logic_error("a send was left in the ring");
  io_uring_prep_sendmsg(send, socket_, &message, MSG_NOSIGNAL);
  io_uring_sqe_set_data64(send, kSend);
  send->flags |= IOSQE_IO_LINK;
  io_uring_prep_link_timeout(limit, &timeout, 0);
  io_uring_sqe_set_data64(limit, 0);

  int submitted = io_uring_submit(ring_.get());
  while (submitted == -EINTR || submitted == -EAGAIN) submitted = io_uring_submit(ring_.get());
  if (submitted < 0) return fail("cannot send a memory image: " + os_message(-submitted));

  int sent = 0;
  for (int completions = 0; completions < 2;) {
    io_uring_cqe* completion = nullptr;
    const int error = io_uring_wait_cqe(ring_.get(), &completion);
    if (error == -EINTR) continue;
    if (error < 0) throw std::logic_error("io_uring lost a completion");
    if (io_uring_cqe_get_data64(completion) == kSend) sent = completion->res;
    io_uring_cqe_seen(ring_.get(), completion);
    ++completions;
  }
  if (sent == -ECANCELED || sent == -EINTR) {
    return fail("the peer took nothing of a memory image for " + std::to_string(stall_timeout_.count()) + " ms");
  }
  if (sent < 0) return fail("cannot send a memory image: " + os_message(-sent));
  return static_cast<std::size_t>(sent);
}

}  // namespace twinstep::memory
