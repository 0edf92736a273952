// SPDX-License-Identifier: Apache-2.0
#include "connection.hpp"

#include <netinet/tcp.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <string_view>

#include "content.hpp"

namespace twinstep::lab {
namespace {

constexpr std::size_t kReceiveBytes = 65536;
constexpr std::size_t kHeadBytesMax = 4096;
constexpr int kBacklog = 16;

tl::unexpected<OperationError> failed(std::string what, std::uint64_t bytes_wrong = 0) {
  return tl::unexpected(OperationError{std::move(what), bytes_wrong});
}

tl::unexpected<OperationError> failed_by_errno() {
  const bool late = errno == EAGAIN || errno == EWOULDBLOCK || errno == ETIMEDOUT || errno == EINPROGRESS;
  return failed(late ? "timeout" : errno == ECONNREFUSED ? "refused" : "reset");
}

void limit_waits(int socket_fd) {
  const timeval timeout{.tv_sec = Connection::kIoTimeoutSeconds, .tv_usec = 0};
  const int on = 1;
  setsockopt(socket_fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout));
  setsockopt(socket_fd, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof(timeout));
  setsockopt(socket_fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
}

}  // namespace

void Connection::close() {
  socket_.reset();
  received_.clear();
}

Outcome<void> Connection::open() {
  if (socket_) return {};
  received_.clear();
  socket_.reset(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!socket_) return failed("refused");
  limit_waits(socket_.get());
  sockaddr address{};
  std::memcpy(&address, &address_, sizeof(address));
  if (connect(socket_.get(), &address, sizeof(address)) == 0) return {};
  auto error = failed_by_errno();
  close();
  return error;
}

Outcome<void> Connection::send(const void* data, std::size_t bytes) {
  const auto* next = static_cast<const unsigned char*>(data);
  while (bytes > 0) {
    const ssize_t sent = ::send(socket_.get(), next, bytes, MSG_NOSIGNAL);
    if (sent < 0 && errno == EINTR) continue;
    if (sent <= 0) return failed_by_errno();
    next += sent;
    bytes -= static_cast<std::size_t>(sent);
  }
  return {};
}

Outcome<void> Connection::request(const std::string& method, const std::string& target, const std::string& extra) {
  const std::string head = method + ' ' + target + " HTTP/1.1\r\nHost: twinstep\r\n" + extra + "\r\n";
  return send(head.data(), head.size());
}

Outcome<void> Connection::fill() {
  std::array<unsigned char, kReceiveBytes> chunk;
  for (;;) {
    const ssize_t count = recv(socket_.get(), chunk.data(), chunk.size(), 0);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return failed_by_errno();
    if (count == 0) return failed("closed_early");
    received_.insert(received_.end(), chunk.begin(), chunk.begin() + count);
    return {};
  }
}

Outcome<std::uint64_t> Connection::response() {
  constexpr std::string_view kEnd = "\r\n\r\n";
  constexpr std::string_view kLength = "\r\nContent-Length: ";
  for (;;) {
    const auto end = std::search(received_.begin(), received_.end(), kEnd.begin(), kEnd.end());
    if (end != received_.end()) {
      const std::string head(received_.begin(), end + 2);
      received_.erase(received_.begin(), end + kEnd.size());
      const std::size_t length = head.find(kLength);
      if (!head.starts_with("HTTP/1.1 200 ") || length == std::string::npos) return failed("bad_head");
      return std::strtoull(head.c_str() + length + kLength.size(), nullptr, 10);
    }
    if (received_.size() > kHeadBytesMax) return failed("bad_head");
    if (const auto filled = fill(); !filled) return tl::unexpected(filled.error());
  }
}

Outcome<void> Connection::receive_content(std::uint64_t seed, std::uint64_t offset, std::uint64_t bytes) {
  std::uint64_t wrong = 0;
  while (bytes > 0) {
    if (received_.empty()) {
      if (const auto filled = fill(); !filled) return failed(filled.error().what, wrong);
    }
    const auto piece = static_cast<std::size_t>(std::min<std::uint64_t>(bytes, received_.size()));
    wrong += count_wrong_bytes(seed, offset, received_.data(), piece);
    received_.erase(received_.begin(), received_.begin() + static_cast<std::ptrdiff_t>(piece));
    offset += piece;
    bytes -= piece;
  }
  if (wrong > 0) return failed("wrong_bytes", wrong);
  return {};
}

Outcome<std::string> Connection::receive_text(std::uint64_t bytes) {
  while (received_.size() < bytes) {
    if (const auto filled = fill(); !filled) return tl::unexpected(filled.error());
  }
  const auto end = received_.begin() + static_cast<std::ptrdiff_t>(bytes);
  std::string text(received_.begin(), end);
  received_.erase(received_.begin(), end);
  return text;
}

Result<Listener> Listener::open() {
  io::UniqueFd listening(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in own{};
  own.sin_family = AF_INET;
  sockaddr address{};
  std::memcpy(&address, &own, sizeof(address));
  socklen_t address_bytes = sizeof(address);
  if (!listening || bind(listening.get(), &address, sizeof(address)) != 0 || listen(listening.get(), kBacklog) != 0 ||
      getsockname(listening.get(), &address, &address_bytes) != 0) {
    return fail(std::string("cannot listen for the guest's connections: ") + std::strerror(errno));
  }
  limit_waits(listening.get());
  std::memcpy(&own, &address, sizeof(own));
  return Listener(std::move(listening), ntohs(own.sin_port));
}

Outcome<void> Listener::take(std::uint64_t seed, std::uint64_t bytes) const {
  const io::UniqueFd accepted(accept4(socket_.get(), nullptr, nullptr, SOCK_CLOEXEC));
  if (!accepted) return failed_by_errno();
  limit_waits(accepted.get());
  std::array<unsigned char, kReceiveBytes> chunk;
  std::uint64_t count = 0;
  std::uint64_t wrong = 0;
  for (;;) {
    const ssize_t received = recv(accepted.get(), chunk.data(), chunk.size(), 0);
    if (received < 0) return failed_by_errno();
    if (received == 0) break;
    wrong += count_wrong_bytes(seed, count, chunk.data(), static_cast<std::size_t>(received));
    count += static_cast<std::uint64_t>(received);
  }
  if (wrong > 0) return failed("wrong_bytes", wrong);
  if (count != bytes) return failed(count < bytes ? "closed_early" : "wrong_bytes", count > bytes ? count - bytes : 0);
  return {};
}

}  // namespace twinstep::lab
