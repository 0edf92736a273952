// SPDX-License-Identifier: Apache-2.0
#include "io/socket.hpp"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>

#include <cstring>

#include "io/os_error.hpp"

namespace twinstep::io {
namespace {

template <typename Address>
const sockaddr* as_sockaddr(const Address& address) {
  return static_cast<const sockaddr*>(static_cast<const void*>(&address));
}

template <typename Address>
sockaddr* as_sockaddr(Address& address) {
  return static_cast<sockaddr*>(static_cast<void*>(&address));
}

/// The address and port in an IPv4 or IPv6 socket address.
struct Endpoint {
  std::string address;
  std::uint16_t port = 0;
};

Endpoint endpoint_of(const sockaddr_storage& storage) {
  char text[INET6_ADDRSTRLEN] = {};
  if (storage.ss_family == AF_INET) {
    sockaddr_in address{};
    std::memcpy(&address, &storage, sizeof address);
    ::inet_ntop(AF_INET, &address.sin_addr, text, sizeof text);
    return {text, ntohs(address.sin_port)};
  }
  if (storage.ss_family == AF_INET6) {
    sockaddr_in6 address{};
    std::memcpy(&address, &storage, sizeof address);
    ::inet_ntop(AF_INET6, &address.sin6_addr, text, sizeof text);
    return {text, ntohs(address.sin6_port)};
  }
  return {};
}

Result<void> set_option(int socket, int level, int option, int value) {
  if (::setsockopt(socket, level, option, &value, sizeof value) != 0) return fail_os("cannot set a socket's options");
  return {};
}

}  // namespace

Result<SocketAddress> SocketAddress::parse(const std::string& address, std::uint16_t port) {
  SocketAddress result;
  sockaddr_in v4{};
  sockaddr_in6 v6{};
  if (::inet_pton(AF_INET, address.c_str(), &v4.sin_addr) == 1) {
    v4.sin_family = AF_INET;
    v4.sin_port = htons(port);
    std::memcpy(&result.storage_, &v4, sizeof v4);
    result.size_ = sizeof v4;
    return result;
  }
  if (::inet_pton(AF_INET6, address.c_str(), &v6.sin6_addr) == 1) {
    v6.sin6_family = AF_INET6;
    v6.sin6_port = htons(port);
    std::memcpy(&result.storage_, &v6, sizeof v6);
    result.size_ = sizeof v6;
    return result;
  }
  return fail("'" + address + "' is not a numeric IPv4 or IPv6 address");
}

const sockaddr* SocketAddress::get() const {
  return as_sockaddr(storage_);
}

std::string SocketAddress::text() const {
  return endpoint_of(storage_).address;
}

Result<UniqueFd> bound_socket(const SocketAddress& local, int type) {
  UniqueFd socket(::socket(local.family(), type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!socket) return fail_os("cannot make a socket");
  if (type == SOCK_STREAM) {
    if (auto set = set_option(socket.get(), SOL_SOCKET, SO_REUSEADDR, 1); !set) return tl::unexpected(set.error());
  }
  if (::bind(socket.get(), local.get(), local.size()) != 0) {
    return fail_os("cannot use the address " + local.text() + " of this host");
  }
  return socket;
}

Result<UniqueFd> listen_tcp(const SocketAddress& local) {
  constexpr int kBacklog = 8;
  auto socket = bound_socket(local, SOCK_STREAM);
  if (socket && ::listen(socket->get(), kBacklog) != 0) return fail_os("cannot listen on the link's address");
  return socket;
}

Result<UniqueFd> start_connect_tcp(const SocketAddress& local, const SocketAddress& remote) {
  auto socket = bound_socket(local, SOCK_STREAM);
  if (!socket) return socket;
  if (::connect(socket->get(), remote.get(), remote.size()) != 0 && errno != EINPROGRESS)
    return fail_os("cannot connect to the peer");
  return socket;
}

Result<std::uint16_t> local_port(int socket) {
  sockaddr_storage storage{};
  socklen_t size = sizeof storage;
  if (::getsockname(socket, as_sockaddr(storage), &size) != 0) return fail_os("cannot ask a socket for its port");
  return endpoint_of(storage).port;
}

std::string peer_address(int socket) {
  sockaddr_storage storage{};
  socklen_t size = sizeof storage;
  if (::getpeername(socket, as_sockaddr(storage), &size) != 0) return {};
  return endpoint_of(storage).address;
}

int socket_error(int socket) {
  int error = 0;
  socklen_t size = sizeof error;
  if (::getsockopt(socket, SOL_SOCKET, SO_ERROR, &error, &size) != 0) return errno;
  return error;
}

Result<void> watch_peer(int socket, unsigned user_timeout_ms) {
  // One probe a second; the user timeout, where it is set, also decides when unanswered probes end the connection.
  constexpr int kProbeSeconds = 1;
  return set_option(socket, IPPROTO_TCP, TCP_NODELAY, 1)
      .and_then([=] { return set_option(socket, SOL_SOCKET, SO_KEEPALIVE, 1); })
      .and_then([=] { return set_option(socket, IPPROTO_TCP, TCP_KEEPIDLE, kProbeSeconds); })
      .and_then([=] { return set_option(socket, IPPROTO_TCP, TCP_KEEPINTVL, kProbeSeconds); })
      .and_then([=] { return set_option(socket, IPPROTO_TCP, TCP_USER_TIMEOUT, static_cast<int>(user_timeout_ms)); });
}

}  // namespace twinstep::io
