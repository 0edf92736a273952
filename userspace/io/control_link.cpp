// SPDX-License-Identifier: Apache-2.0
#include "io/control_link.hpp"

#include <poll.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

#include "io/control_link_connection.hpp"
#include "io/monotonic.hpp"
#include "io/os_error.hpp"
#include "io/socket.hpp"

namespace twinstep::io {

/// The thread, and all that it alone touches. Shared with senders: what `mutex_` guards.
class ControlLink::Loop {
 public:
  Loop(ControlLinkConfig config, ControlLinkHandlers handlers, SocketAddress local, SocketAddress remote,
       UniqueFd listener, UniqueFd wake)
      : config_(std::move(config)),
        handlers_(std::move(handlers)),
        local_(local),
        remote_(remote),
        listener_(std::move(listener)),
        wake_(std::move(wake)),
        retry_ns_(config_.retry_min_ns) {
    thread_ = std::thread([this] { run(); });
    ::pthread_setname_np(thread_.native_handle(), "ts-link");
  }
  ~Loop() {
    stop_ = true;
    ::eventfd_write(wake_.get(), 1);
    thread_.join();
  }
  Loop(const Loop&) = delete;
  Loop& operator=(const Loop&) = delete;

  bool send(std::span<const std::byte> frame) {
    {
      const std::lock_guard lock(mutex_);
      if (!connected_ || queued_.size() + unsent_bytes_ + frame.size() > config_.queue_bytes_max) return false;
      queued_.insert(queued_.end(), frame.begin(), frame.end());
    }
    ::eventfd_write(wake_.get(), 1);
    return true;
  }

  bool connected() const {
    const std::lock_guard lock(mutex_);
    return connected_;
  }

 private:
  /// A connection, before and after the greeting.
  struct Peer {
    Peer(UniqueFd socket, bool is_connecting, Nanos until)
        : connection(std::move(socket)), connecting(is_connecting), deadline_ns(until) {}
    ControlLinkConnection connection;
    bool connecting;    // the TCP handshake isn't over
    Nanos deadline_ns;  // for the handshake, then for the greeting
  };

  void run();
  int poll_timeout_ms() const;
  void poll_once();
  void dial();
  void accept_all();
  void serve_candidate(short events);
  void serve_active(short events);
  void greet();
  Result<void> take_from_candidate(wire::Frame&& frame);
  Result<void> take_from_active(wire::Frame&& frame);
  void activate(const wire::Hello& hello);
  void drop_candidate(const std::string& reason, bool refused);
  void drop_active(const std::string& reason);
  Result<void> send_queued();

  const ControlLinkConfig config_;
  const ControlLinkHandlers handlers_;
  const SocketAddress local_;
  const SocketAddress remote_;
  const UniqueFd listener_;  // empty on the host that dials
  const UniqueFd wake_;

  std::unique_ptr<Peer> candidate_;  // not yet greeted; the newest one only
  std::unique_ptr<Peer> active_;
  Nanos retry_ns_;
  Nanos dial_at_ns_ = 0;
  std::string last_refusal_;

  mutable std::mutex mutex_;
  bool connected_ = false;
  std::vector<std::byte> queued_;
  std::size_t unsent_bytes_ = 0;  // taken from queued_, not yet by the socket

  std::atomic<bool> stop_ = false;
  std::thread thread_;
};

void ControlLink::Loop::run() {
  while (!stop_) poll_once();
  if (active_) static_cast<void>(send_queued());  // the farewell; whether it arrives is not known anyway
}

int ControlLink::Loop::poll_timeout_ms() const {
  Nanos until = monotonic_ns() + kSecond;
  if (candidate_) until = std::min(until, candidate_->deadline_ns);
  if (!listener_ && !active_ && !candidate_) until = std::min(until, dial_at_ns_);
  return milliseconds_until(until);
}

void ControlLink::Loop::poll_once() {
  std::array<pollfd, 4> fds{};
  fds[0] = {wake_.get(), POLLIN, 0};
  fds[1] = {listener_.get(), POLLIN, 0};  // poll() ignores a descriptor of -1
  fds[2] = {candidate_ ? candidate_->connection.fd() : -1, POLLIN, 0};
  if (candidate_ && candidate_->connecting) fds[2].events = POLLOUT;
  fds[3] = {active_ ? active_->connection.fd() : -1, POLLIN, 0};
  if (active_ && active_->connection.unsent_bytes() > 0) fds[3].events |= POLLOUT;
  if (::poll(fds.data(), fds.size(), poll_timeout_ms()) < 0) return;

  if (fds[0].revents != 0) {
    eventfd_t ignored = 0;
    ::eventfd_read(wake_.get(), &ignored);
  }
  // The active one first: a candidate's greeting may end it, and what it still had to say comes before that.
  if (active_) serve_active(fds[3].revents);
  if (candidate_) serve_candidate(fds[2].revents);
  if (fds[1].revents != 0) accept_all();
  if (!listener_ && !active_ && !candidate_ && monotonic_ns() >= dial_at_ns_) dial();
}

void ControlLink::Loop::dial() {
  dial_at_ns_ = monotonic_ns() + retry_ns_;
  retry_ns_ = std::min(2 * retry_ns_, config_.retry_max_ns);
  auto socket = start_connect_tcp(local_, remote_);
  if (!socket) return;
  candidate_ = std::make_unique<Peer>(std::move(*socket), true, monotonic_ns() + config_.greeting_timeout_ns);
}

void ControlLink::Loop::accept_all() {
  for (;;) {
    UniqueFd socket(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
    if (!socket) return;
    if (peer_address(socket.get()) != remote_.text()) continue;
    candidate_ = std::make_unique<Peer>(std::move(socket), false, 0);
    greet();
  }
}

void ControlLink::Loop::serve_candidate(short events) {
  if (events != 0 && candidate_->connecting) {
    if (const int error = socket_error(candidate_->connection.fd()); error != 0)
      return drop_candidate(fail_os("the peer's daemon cannot be reached", error).value().message, false);
    return greet();
  }
  if (events != 0) {
    // The greeting makes the candidate the active peer, and what follows it in the same read is already a message.
    Peer& peer = *candidate_;
    const auto received = peer.connection.receive([this](wire::Frame&& frame) {
      return candidate_ ? take_from_candidate(std::move(frame)) : take_from_active(std::move(frame));
    });
    if (received) return;
    if (!candidate_) return drop_active(received.error().message);
    return drop_candidate(received.error().message, !peer.connection.lost());
  }
  if (monotonic_ns() >= candidate_->deadline_ns) drop_candidate("the peer's daemon did not answer in time", false);
}

void ControlLink::Loop::serve_active(short events) {
  if (events != 0) {
    const auto received =
        active_->connection.receive([this](wire::Frame&& frame) { return take_from_active(std::move(frame)); });
    if (!received) return drop_active(received.error().message);
  }
  if (const auto sent = send_queued(); !sent) drop_active(sent.error().message);
}

/// Says who this is, as the first thing on a new connection, and waits for the same.
void ControlLink::Loop::greet() {
  candidate_->connecting = false;
  candidate_->deadline_ns = monotonic_ns() + config_.greeting_timeout_ns;
  auto watched = watch_peer(candidate_->connection.fd(), static_cast<unsigned>(config_.user_timeout_ns / kMillisecond));
  candidate_->connection.queue(
      wire::encode(wire::Hello{wire::kWireVersion, TS_ABI_VERSION, config_.self, config_.software_version}));
  const auto greeted = watched.and_then([this] { return candidate_->connection.flush(); });
  if (!greeted) drop_candidate(greeted.error().message, false);
}

Result<void> ControlLink::Loop::take_from_candidate(wire::Frame&& frame) {
  const auto* hello = std::get_if<wire::Hello>(&frame);
  if (hello == nullptr) return fail("the peer's daemon sent a message before its greeting");
  if (auto fits = wire::check_hello(*hello, config_.peer); !fits) return fits;
  activate(*hello);
  return {};
}

Result<void> ControlLink::Loop::take_from_active(wire::Frame&& frame) {
  auto* envelope = std::get_if<wire::Envelope>(&frame);
  if (envelope == nullptr) return fail("the peer's daemon greeted twice on one connection");
  handlers_.on_message(std::move(*envelope));
  return {};
}

void ControlLink::Loop::activate(const wire::Hello& hello) {
  // The peer's daemon, or its host, was restarted before the old connection's end showed.
  if (active_) drop_active("the peer's daemon connected anew");
  active_ = std::move(candidate_);
  retry_ns_ = config_.retry_min_ns;
  last_refusal_.clear();
  {
    const std::lock_guard lock(mutex_);
    connected_ = true;
  }
  handlers_.on_connected(hello);
}

void ControlLink::Loop::drop_candidate(const std::string& reason, bool refused) {
  candidate_.reset();
  if (!refused || reason == last_refusal_) return;
  last_refusal_ = reason;
  handlers_.on_refused(reason);
}

void ControlLink::Loop::drop_active(const std::string& reason) {
  {
    const std::lock_guard lock(mutex_);
    connected_ = false;
    queued_.clear();
    unsent_bytes_ = 0;
  }
  active_.reset();
  dial_at_ns_ = monotonic_ns() + retry_ns_;
  handlers_.on_disconnected(reason);
}

Result<void> ControlLink::Loop::send_queued() {
  std::vector<std::byte> taken;
  {
    const std::lock_guard lock(mutex_);
    taken.swap(queued_);
    unsent_bytes_ += taken.size();
  }
  active_->connection.queue(taken);
  auto flushed = active_->connection.flush();
  const std::lock_guard lock(mutex_);
  unsent_bytes_ = active_->connection.unsent_bytes();
  return flushed;
}

Result<std::unique_ptr<ControlLink>> ControlLink::create(ControlLinkConfig config, ControlLinkHandlers handlers) {
  if (config.self == config.peer)
    return fail("both hosts are named '" + config.self + "': give [host] and [peer] different names");
  auto local = SocketAddress::parse(config.address, config.port);
  if (!local) return tl::unexpected(local.error());
  auto remote = SocketAddress::parse(config.peer_address, config.port);
  if (!remote) return tl::unexpected(remote.error());
  UniqueFd listener;
  if (config.peer < config.self) {
    auto listening = listen_tcp(*local);
    if (!listening) return tl::unexpected(listening.error());
    listener = std::move(*listening);
  } else {
    // The host that dials binds for each attempt; a wrong address must show now and not as a peer that never answers.
    auto own_address = SocketAddress::parse(config.address, 0);
    if (auto usable = bound_socket(*own_address, SOCK_STREAM); !usable) return tl::unexpected(usable.error());
    local = own_address;
  }
  UniqueFd wake(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!wake) return fail_os("cannot make an eventfd");
  return std::unique_ptr<ControlLink>(new ControlLink(std::make_unique<Loop>(
      std::move(config), std::move(handlers), *local, *remote, std::move(listener), std::move(wake))));
}

ControlLink::ControlLink(std::unique_ptr<Loop> loop) : loop_(std::move(loop)) {}
ControlLink::~ControlLink() = default;

bool ControlLink::send(std::uint16_t vm_id, const session::Message& message, std::span<const std::byte> body) {
  const auto frame = wire::encode(vm_id, message, body);
  return frame && loop_->send(*frame);
}

bool ControlLink::connected() const {
  return loop_->connected();
}

}  // namespace twinstep::io
