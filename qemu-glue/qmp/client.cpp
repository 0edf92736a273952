// SPDX-License-Identifier: Apache-2.0
#include "qemu-glue/qmp/client.hpp"

#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <thread>
#include <utility>

#include "memory/os_error.hpp"

namespace twinstep::qemu {
namespace {

using memory::Deadline;
using memory::fail_errno;

constexpr Milliseconds kConnectRetry{5};

Result<sockaddr_un> address_of(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof(address.sun_path)) {
    return fail("the path of QEMU's monitor is too long for a unix socket, choose a shorter run directory: " + path);
  }
  std::memcpy(address.sun_path, path.data(), path.size());
  return address;
}

Result<io::UniqueFd> connect_socket(const std::string& path, const Deadline& deadline) {
  const auto address = address_of(path);
  if (!address) return tl::unexpected(address.error());
  for (;;) {
    io::UniqueFd socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    if (!socket) return fail_errno("cannot make a unix socket");
    const auto* const generic = reinterpret_cast<const sockaddr*>(&*address);
    if (::connect(socket.get(), generic, sizeof(*address)) == 0) return socket;
    const bool not_yet = errno == ENOENT || errno == ECONNREFUSED || errno == EAGAIN;
    if (!not_yet || deadline.passed()) return fail_errno("cannot connect to QEMU's monitor " + path);
    std::this_thread::sleep_for(kConnectRetry);
  }
}

std::string reason_of(const Json& error) {
  const auto description = error.find("desc");
  return description != error.end() && description->is_string() ? description->get<std::string>() : error.dump();
}

tl::unexpected<Error> fail_command(std::string_view command, const std::string& reason) {
  return fail("QEMU command " + std::string(command) + " failed: " + reason);
}

}  // namespace

Result<QmpClient> QmpClient::connect(const std::string& path, Milliseconds timeout) {
  auto socket = connect_socket(path, Deadline(timeout));
  if (!socket) return tl::unexpected(socket.error());
  return adopt(std::move(*socket), timeout);
}

Result<QmpClient> QmpClient::adopt(io::UniqueFd socket, Milliseconds timeout) {
  QmpClient client(std::move(socket));
  if (auto ready = client.negotiate(timeout); !ready) return tl::unexpected(ready.error());
  return client;
}

Result<void> QmpClient::negotiate(Milliseconds timeout) {
  auto greeting = read_message(Deadline(timeout));
  if (!greeting) return fail("no greeting from QEMU's monitor: " + greeting.error().message);
  if (!greeting->contains("QMP")) return fail("what listens on the monitor's socket is not QEMU");
  return execute("qmp_capabilities", Json::object(), timeout).map([](const Json&) {});
}

Result<Json> QmpClient::execute(std::string_view command, Json arguments, Milliseconds timeout, std::optional<int> fd) {
  const Deadline deadline(timeout);
  Json request{{"execute", command}, {"id", ++last_id_}};
  if (!arguments.empty()) request["arguments"] = std::move(arguments);
  Json reply;
  auto step = send(request.dump() + "\n", fd, deadline);
  if (step) step = wait_reply(last_id_, deadline, reply);
  if (!step) return fail_command(command, step.error().message);
  if (const auto error = reply.find("error"); error != reply.end()) return fail_command(command, reason_of(*error));
  return std::move(reply["return"]);
}

Result<void> QmpClient::wait_reply(std::uint64_t id, const Deadline& deadline, Json& reply) {
  for (;;) {
    auto message = read_message(deadline);
    if (!message) return tl::unexpected(message.error());
    if (message->contains("event")) {
      keep_event(std::move(*message));
      continue;
    }
    // A reply with another number answers a command that was given up; one without can only be to the latest.
    const auto number = message->find("id");
    if (number != message->end() && *number != id) continue;
    reply = std::move(*message);
    return {};
  }
}

Result<QmpEvent> QmpClient::wait_event(std::string_view name, const EventPredicate& wanted, Milliseconds timeout) {
  const Deadline deadline(timeout);
  for (;;) {
    for (auto event = events_.begin(); event != events_.end(); ++event) {
      if (event->name != name || !wanted(*event)) continue;
      QmpEvent found = std::move(*event);
      events_.erase(event);
      return found;
    }
    auto message = read_message(deadline);
    if (!message) return fail("no event " + std::string(name) + " from QEMU: " + message.error().message);
    if (message->contains("event")) keep_event(std::move(*message));
  }
}

void QmpClient::keep_event(Json message) {
  if (events_.size() == kEventsMax) events_.pop_front();
  events_.push_back({message["event"].is_string() ? message["event"].get<std::string>() : std::string(),
                     message.contains("data") ? std::move(message["data"]) : Json::object()});
}

Result<void> QmpClient::send(const std::string& text, std::optional<int> fd, const Deadline& deadline) {
  std::span<const char> left(text);
  while (!left.empty()) {
    if (closed_) return fail_closed();
    iovec piece{const_cast<char*>(left.data()), left.size()};
    msghdr message{};
    message.msg_iov = &piece;
    message.msg_iovlen = 1;
    alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(int))> control{};
    // The descriptor goes with the first byte.
    if (fd && left.size() == text.size()) {
      message.msg_control = control.data();
      message.msg_controllen = control.size();
      cmsghdr* const header = CMSG_FIRSTHDR(&message);
      header->cmsg_level = SOL_SOCKET;
      header->cmsg_type = SCM_RIGHTS;
      header->cmsg_len = CMSG_LEN(sizeof(int));
      std::memcpy(CMSG_DATA(header), &*fd, sizeof(int));
    }
    const ssize_t sent = ::sendmsg(socket_.get(), &message, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent > 0) {
      left = left.subspan(static_cast<std::size_t>(sent));
    } else if (errno == EPIPE || errno == ECONNRESET) {
      return fail_closed();
    } else if (errno == EAGAIN) {
      if (auto ready = wait_for(POLLOUT, deadline); !ready) return ready;
    } else if (errno != EINTR) {
      return fail_errno("cannot write to QEMU's monitor");
    }
  }
  return {};
}

Result<Json> QmpClient::read_message(const Deadline& deadline) {
  for (;;) {
    if (const auto end = buffer_.find('\n', searched_); end != std::string::npos) {
      Json message = Json::parse(buffer_.begin(), buffer_.begin() + static_cast<std::ptrdiff_t>(end), nullptr, false);
      buffer_.erase(0, end + 1);
      searched_ = 0;
      if (!message.is_object()) return fail("QEMU's monitor sent something that is no JSON object");
      return message;
    }
    searched_ = buffer_.size();
    if (buffer_.size() > kMessageBytesMax) return fail("QEMU's monitor sent a message without end");
    if (auto filled = fill_buffer(deadline); !filled) return tl::unexpected(filled.error());
  }
}

Result<void> QmpClient::fill_buffer(const Deadline& deadline) {
  if (closed_) return fail_closed();
  if (auto ready = wait_for(POLLIN, deadline); !ready) return ready;
  std::array<char, 65536> block;
  const ssize_t got = ::recv(socket_.get(), block.data(), block.size(), MSG_DONTWAIT);
  if (got == 0 || (got < 0 && errno == ECONNRESET)) return fail_closed();
  if (got < 0 && errno != EAGAIN && errno != EINTR) return fail_errno("cannot read QEMU's monitor");
  if (got > 0) buffer_.append(block.data(), static_cast<std::size_t>(got));
  return {};
}

Result<void> QmpClient::wait_for(short poll_events, const Deadline& deadline) {
  pollfd socket{socket_.get(), poll_events, 0};
  int ready = 0;
  do {
    ready = ::poll(&socket, 1, deadline.poll_timeout_ms());
  } while (ready < 0 && errno == EINTR);
  if (ready < 0) return fail_errno("cannot wait for QEMU's monitor");
  if (ready == 0) return fail("QEMU did not answer in time");
  return {};
}

tl::unexpected<Error> QmpClient::fail_closed() {
  closed_ = true;
  return fail("QEMU closed its monitor");
}

}  // namespace twinstep::qemu
