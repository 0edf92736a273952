// SPDX-License-Identifier: Apache-2.0
#include "io/heartbeat.hpp"

#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <span>
#include <utility>

#include "io/monotonic.hpp"
#include "io/os_error.hpp"
#include "io/socket.hpp"

namespace twinstep::io {

Result<std::unique_ptr<Heartbeat>> Heartbeat::create(HeartbeatConfig config,
                                                     std::function<void(const wire::Heartbeat&)> on_heard) {
  auto local = SocketAddress::parse(config.address, config.port);
  if (!local) return tl::unexpected(local.error());
  auto remote = SocketAddress::parse(config.peer_address, config.port);
  if (!remote) return tl::unexpected(remote.error());
  auto socket = bound_socket(*local, SOCK_DGRAM);
  if (!socket) return tl::unexpected(socket.error());
  // Connected, so that the kernel drops datagrams of other senders.
  if (::connect(socket->get(), remote->get(), remote->size()) != 0)
    return fail_os("cannot send to the peer's address " + config.peer_address);
  UniqueFd wake(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!wake) return fail_os("cannot make an eventfd");
  return std::unique_ptr<Heartbeat>(
      new Heartbeat(std::move(config), std::move(on_heard), std::move(*socket), std::move(wake)));
}

Heartbeat::Heartbeat(HeartbeatConfig config, std::function<void(const wire::Heartbeat&)> on_heard, UniqueFd socket,
                     UniqueFd wake)
    : config_(std::move(config)), on_heard_(std::move(on_heard)), socket_(std::move(socket)), wake_(std::move(wake)) {
  thread_ = std::thread([this] { run(); });
  ::pthread_setname_np(thread_.native_handle(), "ts-heartbeat");
  // The lowest real-time priority is above all ordinary work, which is enough.
  const sched_param priority{.sched_priority = ::sched_get_priority_min(SCHED_FIFO)};
  real_time_ = ::pthread_setschedparam(thread_.native_handle(), SCHED_FIFO, &priority) == 0;
}

Heartbeat::~Heartbeat() {
  stop_ = true;
  ::eventfd_write(wake_.get(), 1);
  thread_.join();
}

void Heartbeat::run() {
  Nanos next_ns = monotonic_ns();
  while (!stop_) {
    if (monotonic_ns() >= next_ns) {
      beat();
      // After a long halt there is nothing to catch up on.
      next_ns = std::max(next_ns + config_.interval_ns, monotonic_ns());
    }
    std::array<pollfd, 2> fds{pollfd{wake_.get(), POLLIN, 0}, pollfd{socket_.get(), POLLIN, 0}};
    if (::poll(fds.data(), fds.size(), milliseconds_until(next_ns)) > 0 && fds[1].revents != 0) hear();
  }
}

void Heartbeat::beat() {
  const auto datagram = wire::encode(wire::Heartbeat{config_.self, sequence_++, monotonic_ns()});
  // A datagram that can't be sent is a lost one: the next follows soon, and the peer judges by what arrives.
  ::send(socket_.get(), datagram.data(), datagram.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
}

void Heartbeat::hear() {
  // One more than allowed, so that a longer datagram doesn't pass as its beginning.
  std::array<std::byte, wire::kHeartbeatBytesMax + 1> buffer{};
  const ssize_t got = ::recv(socket_.get(), buffer.data(), buffer.size(), MSG_DONTWAIT);
  if (got <= 0) return;  // also the report that the peer's port is closed, which recv() clears
  const auto heartbeat = wire::decode_heartbeat(std::span(buffer).first(static_cast<std::size_t>(got)));
  if (heartbeat && heartbeat->host == config_.peer) on_heard_(*heartbeat);
}

}  // namespace twinstep::io
