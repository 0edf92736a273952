// SPDX-License-Identifier: Apache-2.0
#include "io/page_stream.hpp"

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <span>
#include <utility>
#include <vector>

#include "io/monotonic.hpp"
#include "io/os_error.hpp"
#include "io/socket.hpp"
#include "wire/bytes.hpp"
#include "wire/header.hpp"

namespace twinstep::io {
namespace {

/// "TSPG" as it lies on the wire.
constexpr std::uint32_t kStreamMagic = 0x47505354;
constexpr std::size_t kTokenBytes = 12;
constexpr unsigned kUserTimeoutMs = 2000;
// A stranger that connects and says nothing keeps the primary waiting no longer than this.
constexpr Nanos kTokenTimeout = 500 * kMillisecond;

std::vector<std::byte> encode(const PageStreamToken& token) {
  wire::ByteWriter writer;
  writer.put(kStreamMagic);
  writer.put(token.pairing);
  writer.put(token.vm_id);
  writer.put(wire::kWireVersion);
  return std::move(writer).take();
}

Result<void> wait_for(int socket, short events, Nanos until) {
  for (;;) {
    pollfd fd{socket, events, 0};
    const int ready = ::poll(&fd, 1, milliseconds_until(until));
    if (ready > 0) return {};
    if (ready == 0) return fail("the page stream was not made in time");
    if (errno != EINTR) return fail_os("cannot wait for the page stream");
  }
}

/// Reads exactly what the other side must say.
Result<void> expect(int socket, std::span<const std::byte> wanted, Nanos until) {
  std::array<std::byte, kTokenBytes> buffer{};
  for (std::size_t have = 0; have < wanted.size();) {
    if (auto readable = wait_for(socket, POLLIN, until); !readable) return readable;
    const ssize_t got = ::recv(socket, buffer.data() + have, wanted.size() - have, MSG_DONTWAIT);
    if (got < 0 && (errno == EINTR || errno == EAGAIN)) continue;
    if (got < 0) return fail_os("the page stream broke off");
    if (got == 0) return fail("the peer turned the page stream away");
    have += static_cast<std::size_t>(got);
  }
  if (!std::ranges::equal(std::span(buffer).first(wanted.size()), wanted))
    return fail("a page stream of another pairing or VM arrived");
  return {};
}

/// Sends a few bytes on a fresh socket, whose buffer always has room for them.
Result<void> say(int socket, std::span<const std::byte> bytes) {
  if (::send(socket, bytes.data(), bytes.size(), MSG_NOSIGNAL | MSG_DONTWAIT) != static_cast<ssize_t>(bytes.size()))
    return fail_os("the page stream broke off");
  return {};
}

Result<void> make_blocking(int socket) {
  const int flags = ::fcntl(socket, F_GETFL);
  if (flags < 0 || ::fcntl(socket, F_SETFL, flags & ~O_NONBLOCK) != 0) return fail_os("cannot set up the page stream");
  return {};
}

}  // namespace

Result<PageStreamListener> PageStreamListener::open(const std::string& address, std::uint16_t port) {
  const auto local = SocketAddress::parse(address, port);
  if (!local) return tl::unexpected(local.error());
  auto socket = listen_tcp(*local);
  if (!socket) return tl::unexpected(socket.error());
  const auto bound = local_port(socket->get());
  if (!bound) return tl::unexpected(bound.error());
  return PageStreamListener(std::move(*socket), *bound);
}

Result<UniqueFd> PageStreamListener::accept(const PageStreamToken& token, Nanos timeout_ns) const {
  const Nanos until = monotonic_ns() + timeout_ns;
  const auto wanted = encode(token);
  for (;;) {
    if (auto ready = wait_for(socket_.get(), POLLIN, until); !ready) return tl::unexpected(ready.error());
    UniqueFd socket(::accept4(socket_.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
    if (!socket) continue;
    const auto made = expect(socket.get(), wanted, std::min(until, monotonic_ns() + kTokenTimeout))
                          .and_then([&] { return watch_peer(socket.get(), kUserTimeoutMs); })
                          .and_then([&] { return say(socket.get(), wanted); })
                          .and_then([&] { return make_blocking(socket.get()); });
    if (made) return socket;
  }
}

Result<UniqueFd> connect_page_stream(const std::string& address, const std::string& peer_address, std::uint16_t port,
                                     const PageStreamToken& token, Nanos timeout_ns) {
  const Nanos until = monotonic_ns() + timeout_ns;
  const auto local = SocketAddress::parse(address, 0);
  if (!local) return tl::unexpected(local.error());
  const auto remote = SocketAddress::parse(peer_address, port);
  if (!remote) return tl::unexpected(remote.error());
  auto socket = start_connect_tcp(*local, *remote);
  if (!socket) return socket;
  if (auto connected = wait_for(socket->get(), POLLOUT, until); !connected) return tl::unexpected(connected.error());
  if (const int error = socket_error(socket->get()); error != 0)
    return fail_os("cannot connect the page stream to " + peer_address + " port " + std::to_string(port), error);
  const auto wanted = encode(token);
  const auto made = watch_peer(socket->get(), kUserTimeoutMs)
                        .and_then([&] { return say(socket->get(), wanted); })
                        .and_then([&] { return expect(socket->get(), wanted, until); })
                        .and_then([&] { return make_blocking(socket->get()); });
  if (!made) return tl::unexpected(made.error());
  return socket;
}

}  // namespace twinstep::io
