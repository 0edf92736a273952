// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/socket.h>

#include <cstdint>
#include <string>

#include "core/result.hpp"
#include "io/unique_fd.hpp"

namespace twinstep::io {

/// A numeric IPv4 or IPv6 address with a port.
class SocketAddress {
 public:
  /// Error: `address` is not a numeric address. Names are not resolved: the link must not depend on a name service.
  static Result<SocketAddress> parse(const std::string& address, std::uint16_t port);

  int family() const { return storage_.ss_family; }
  const sockaddr* get() const;
  socklen_t size() const { return size_; }
  /// The address without the port, in its shortest form.
  std::string text() const;

 private:
  sockaddr_storage storage_{};
  socklen_t size_ = 0;
};

/// A bound non-blocking socket. type: SOCK_STREAM or SOCK_DGRAM.
Result<UniqueFd> bound_socket(const SocketAddress& local, int type);

/// A bound, listening, non-blocking TCP socket. The address may be reused while old connections linger.
Result<UniqueFd> listen_tcp(const SocketAddress& local);

/// Starts a TCP connection; it is made, or has failed (socket_error()), when the non-blocking socket becomes writable.
Result<UniqueFd> start_connect_tcp(const SocketAddress& local, const SocketAddress& remote);

/// The port that a bound socket has, in host order.
Result<std::uint16_t> local_port(int socket);

/// The other end of a connected socket, as SocketAddress::text() has it; empty if it has none.
std::string peer_address(int socket);

/// The socket's pending error (SO_ERROR), 0 for none.
int socket_error(int socket);

/// Small messages leave at once, and a dead peer shows: unacknowledged data or an idle connection's probes end it after
/// about `user_timeout_ms`.
Result<void> watch_peer(int socket, unsigned user_timeout_ms);

}  // namespace twinstep::io
