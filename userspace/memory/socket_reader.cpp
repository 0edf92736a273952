// SPDX-License-Identifier: Apache-2.0
#include "memory/socket_reader.hpp"

#include <poll.h>
#include <sys/socket.h>

#include <cerrno>
#include <string>

#include "memory/deadline.hpp"
#include "memory/os_error.hpp"

namespace twinstep::memory {

Result<void> SocketReader::wait(std::chrono::milliseconds timeout) const {
  const Deadline deadline(timeout);
  pollfd readable{socket_, POLLIN, 0};
  int ready = 0;
  do {
    ready = ::poll(&readable, 1, deadline.poll_timeout_ms());
  } while (ready < 0 && errno == EINTR);
  if (ready < 0) return fail_errno("cannot wait on the page stream");
  if (ready == 0) return fail("nothing came on the page stream for " + std::to_string(timeout.count()) + " ms");
  return {};
}

Result<void> SocketReader::read(std::span<std::byte> to, std::chrono::milliseconds stall_timeout) const {
  while (!to.empty()) {
    const ssize_t got = ::recv(socket_, to.data(), to.size(), MSG_DONTWAIT);
    if (got == 0) return fail("the page stream ended in the middle of an image: the peer or the link is gone");
    if (got > 0) {
      to = to.subspan(static_cast<std::size_t>(got));
      continue;
    }
    if (errno == EINTR) continue;
    if (errno != EAGAIN && errno != EWOULDBLOCK) return fail_errno("cannot read the page stream");
    if (auto ready = wait(stall_timeout); !ready) return ready;
  }
  return {};
}

}  // namespace twinstep::memory
