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
constexpr std::size_t kTokenBytes = 14;
constexpr unsigned kUserTimeoutMs = 2000;
// A stranger that connects and says nothing keeps the primary waiting no longer than this.
constexpr Nanos kTokenTimeout = 500 * kMillisecond;
// How soon a listener sees that it isn't wanted any more.
constexpr Nanos kAcceptSlice = 200 * kMillisecond;

/// What the primary says first on each stream, and the secondary repeats.
struct Opening {
  PageStreamToken token;
  std::uint8_t stream = 0;
  std::uint8_t streams = 1;
};

std::vector<std::byte> encode(const Opening& opening) {
  wire::ByteWriter writer;
  writer.put(kStreamMagic);
  writer.put(opening.token.pairing);
  writer.put(opening.token.vm_id);
  writer.put(wire::kWireVersion);
  writer.put(opening.stream);
  writer.put(opening.streams);
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

/// Reads what the other side says first.
Result<std::array<std::byte, kTokenBytes>> hear(int socket, Nanos until) {
  std::array<std::byte, kTokenBytes> said{};
  for (std::size_t have = 0; have < said.size();) {
    if (auto readable = wait_for(socket, POLLIN, until); !readable) return tl::unexpected(readable.error());
    const ssize_t got = ::recv(socket, said.data() + have, said.size() - have, MSG_DONTWAIT);
    if (got < 0 && (errno == EINTR || errno == EAGAIN)) continue;
    if (got < 0) return fail_os("the page stream broke off");
    if (got == 0) return fail("the peer turned the page stream away");
    have += static_cast<std::size_t>(got);
  }
  return said;
}

/// What was said, if it is of this token.
Result<Opening> check(const std::array<std::byte, kTokenBytes>& said, const PageStreamToken& token) {
  const Opening opening{token, std::to_integer<std::uint8_t>(said[kTokenBytes - 2]),
                        std::to_integer<std::uint8_t>(said[kTokenBytes - 1])};
  if (!std::ranges::equal(said, encode(opening))) return fail("a page stream of another pairing or VM arrived");
  if (opening.streams == 0 || opening.streams > kPageStreamsMax || opening.stream >= opening.streams) {
    return fail("the peer opened page stream " + std::to_string(opening.stream) + " of " +
                std::to_string(opening.streams) + ", this host takes " + std::to_string(kPageStreamsMax) + " at most");
  }
  return opening;
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

namespace {

struct Accepted {
  UniqueFd socket;
  Opening opening;
};

/// One connection that waits at the listener, if it shows the token.
Result<Accepted> accept_one(const UniqueFd& listener, const PageStreamToken& token, Nanos until) {
  UniqueFd socket(::accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
  if (!socket) return fail_os("a page stream was gone before it was made");
  const auto opening = hear(socket.get(), until).and_then([&](const auto& said) { return check(said, token); });
  if (!opening) return tl::unexpected(opening.error());
  const auto made = watch_peer(socket.get(), kUserTimeoutMs)
                        .and_then([&] { return say(socket.get(), encode(*opening)); })
                        .and_then([&] { return make_blocking(socket.get()); });
  if (!made) return tl::unexpected(made.error());
  return Accepted{std::move(socket), *opening};
}

Result<UniqueFd> connect_one(const SocketAddress& local, const SocketAddress& remote, const Opening& opening,
                             Nanos until) {
  auto socket = start_connect_tcp(local, remote);
  if (!socket) return socket;
  if (auto connected = wait_for(socket->get(), POLLOUT, until); !connected) return tl::unexpected(connected.error());
  if (const int error = socket_error(socket->get()); error != 0) return fail_os("cannot connect", error);
  const auto answered = watch_peer(socket->get(), kUserTimeoutMs)
                            .and_then([&] { return say(socket->get(), encode(opening)); })
                            .and_then([&] { return hear(socket->get(), until); })
                            .and_then([&](const auto& said) { return check(said, opening.token); });
  if (!answered) return tl::unexpected(answered.error());
  if (auto blocking = make_blocking(socket->get()); !blocking) return tl::unexpected(blocking.error());
  return socket;
}

}  // namespace

Result<std::vector<UniqueFd>> PageStreamListener::accept(const PageStreamToken& token, Nanos timeout_ns,
                                                         const std::function<bool()>& wanted) const {
  const Nanos until = monotonic_ns() + timeout_ns;
  std::vector<UniqueFd> streams;
  const auto complete = [&] {
    return !streams.empty() && std::ranges::all_of(streams, [](const UniqueFd& fd) { return static_cast<bool>(fd); });
  };
  while (!complete()) {
    const Nanos now = monotonic_ns();
    if (!wanted() || now >= until) return fail("the page streams were not made in time");
    if (!wait_for(socket_.get(), POLLIN, std::min(until, now + kAcceptSlice))) continue;
    auto accepted = accept_one(socket_, token, std::min(until, monotonic_ns() + kTokenTimeout));
    if (!accepted) continue;  // turned away
    if (streams.size() != accepted->opening.streams) {
      streams.clear();
      streams.resize(accepted->opening.streams);
    }
    streams[accepted->opening.stream] = std::move(accepted->socket);
  }
  return streams;
}

Result<std::vector<UniqueFd>> connect_page_streams(const std::string& address, const std::string& peer_address,
                                                   std::uint16_t port, const PageStreamToken& token,
                                                   std::size_t streams, Nanos timeout_ns) {
  const Nanos until = monotonic_ns() + timeout_ns;
  const auto local = SocketAddress::parse(address, 0);
  if (!local) return tl::unexpected(local.error());
  const auto remote = SocketAddress::parse(peer_address, port);
  if (!remote) return tl::unexpected(remote.error());
  std::vector<UniqueFd> sockets;
  while (sockets.size() < streams) {
    const Opening opening{token, static_cast<std::uint8_t>(sockets.size()), static_cast<std::uint8_t>(streams)};
    auto socket = connect_one(*local, *remote, opening, until);
    if (!socket) {
      return fail("no page stream to " + peer_address + " port " + std::to_string(port) + ": " +
                  socket.error().message);
    }
    sockets.push_back(std::move(*socket));
  }
  return sockets;
}

}  // namespace twinstep::io
