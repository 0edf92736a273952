// SPDX-License-Identifier: Apache-2.0
#include "io/control_link_connection.hpp"

#include <sys/socket.h>

#include <cerrno>
#include <utility>

#include "io/os_error.hpp"

namespace twinstep::io {
namespace {

constexpr std::size_t kReadBytes = std::size_t{64} * 1024;
// So that a flood of input doesn't keep the owner's loop from its timers.
constexpr int kReadsPerCall = 16;

}  // namespace

tl::unexpected<Error> ControlLinkConnection::lose(Error reason) {
  lost_ = true;
  return tl::unexpected(std::move(reason));
}

void ControlLinkConnection::queue(std::span<const std::byte> bytes) {
  outgoing_.erase(outgoing_.begin(), outgoing_.begin() + static_cast<std::ptrdiff_t>(sent_));
  sent_ = 0;
  outgoing_.insert(outgoing_.end(), bytes.begin(), bytes.end());
}

Result<void> ControlLinkConnection::flush() {
  while (unsent_bytes() > 0) {
    const auto rest = std::span(outgoing_).subspan(sent_);
    const ssize_t sent = ::send(socket_.get(), rest.data(), rest.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent < 0) {
      if (errno == EINTR) continue;
      if (errno == EAGAIN || errno == EWOULDBLOCK) return {};
      return lose(fail_os("the control connection to the peer is lost").value());
    }
    sent_ += static_cast<std::size_t>(sent);
  }
  return {};
}

Result<void> ControlLinkConnection::receive(const std::function<Result<void>(wire::Frame&&)>& on_frame) {
  std::vector<std::byte> chunk(kReadBytes);
  for (int reads = 0; reads < kReadsPerCall; ++reads) {
    const ssize_t got = ::recv(socket_.get(), chunk.data(), chunk.size(), MSG_DONTWAIT);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) return {};
    if (got < 0) return lose(fail_os("the control connection to the peer is lost").value());
    if (got == 0) return lose(Error{"the peer's daemon closed the control connection"});
    decoder_.feed(std::span(chunk).first(static_cast<std::size_t>(got)));
    for (;;) {
      auto frame = decoder_.next();
      if (!frame) return tl::unexpected(frame.error());
      if (!*frame) break;
      if (auto taken = on_frame(std::move(**frame)); !taken) return taken;
    }
  }
  return {};
}

}  // namespace twinstep::io
