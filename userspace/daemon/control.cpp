// SPDX-License-Identifier: Apache-2.0
#include "daemon/control.hpp"

#include <fcntl.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <cstring>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "io/monotonic.hpp"
#include "io/os_error.hpp"

namespace twinstep::daemon {
namespace {

using io::fail_os;
using io::UniqueFd;
using nlohmann::json;
namespace fs = std::filesystem;

constexpr mode_t kOwnerOnly = 0600;

std::string first_line(int file) {
  std::array<char, 64> buffer{};
  const ssize_t got = ::pread(file, buffer.data(), buffer.size(), 0);
  const std::string text(buffer.data(), got > 0 ? static_cast<std::size_t>(got) : 0);
  return text.substr(0, text.find('\n'));
}

/// Takes the lock that says "a daemon serves this directory" and writes this process's id into its file.
Result<UniqueFd> lock_run_dir(const fs::path& run_dir) {
  const fs::path path = run_dir / "twinstepd.pid";
  UniqueFd file(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644));
  if (!file) return fail_os("cannot open " + path.string());
  struct flock whole {};
  whole.l_type = F_WRLCK;
  whole.l_whence = SEEK_SET;
  if (::fcntl(file.get(), F_OFD_SETLK, &whole) != 0) {
    if (errno != EAGAIN && errno != EACCES) return fail_os("cannot lock " + path.string());
    return fail("another twinstepd (pid " + first_line(file.get()) + ") serves " + run_dir.string() +
                ": stop it first, or give this one another host.run_dir");
  }
  const std::string pid = std::to_string(::getpid()) + "\n";
  if (::ftruncate(file.get(), 0) != 0 || ::pwrite(file.get(), pid.data(), pid.size(), 0) < 0)
    return fail_os("cannot write " + path.string());
  return file;
}

Result<UniqueFd> listen_at(const fs::path& path) {
  constexpr int kBacklog = 16;
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.native().size() >= sizeof address.sun_path)
    return fail("the path " + path.string() + " is too long for a socket (" +
                std::to_string(sizeof address.sun_path - 1) + " bytes): choose a shorter host.run_dir");
  std::memcpy(address.sun_path, path.c_str(), path.native().size());
  UniqueFd socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!socket) return fail_os("cannot make the control socket");
  // Whoever left a socket here is dead: the caller holds the directory's lock.
  ::unlink(path.c_str());
  // The mode of the descriptor is what bind(2) gives the file, so there is no moment in which others may connect.
  if (::fchmod(socket.get(), kOwnerOnly) != 0 ||
      ::bind(socket.get(), static_cast<sockaddr*>(static_cast<void*>(&address)), sizeof address) != 0 ||
      ::listen(socket.get(), kBacklog) != 0)
    return fail_os("cannot listen on " + path.string());
  return socket;
}

/// Waits until `socket` is ready for `events`. false: the time is over, or the server ends.
bool wait_for(int socket, short events, int stop, Nanos until) {
  std::array<pollfd, 2> fds{pollfd{socket, events, 0}, pollfd{stop, POLLIN, 0}};
  int ready = 0;
  do {
    ready = ::poll(fds.data(), fds.size(), io::milliseconds_until(until));
  } while (ready < 0 && errno == EINTR);
  return ready > 0 && fds[1].revents == 0;
}

bool send_line(int socket, const json& reply, int stop, Nanos until) {
  const std::string text = reply.dump(-1, ' ', false, json::error_handler_t::replace) + "\n";
  for (std::string_view rest = text; !rest.empty();) {
    const ssize_t sent = ::send(socket, rest.data(), rest.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent >= 0) {
      rest.remove_prefix(static_cast<std::size_t>(sent));
    } else if (errno == EAGAIN) {
      if (!wait_for(socket, POLLOUT, stop, until)) return false;
    } else if (errno != EINTR) {
      return false;
    }
  }
  return true;
}

json answer_line(const ControlServer::Handler& handler, std::string_view line) {
  const json request = json::parse(line, nullptr, false);
  if (!request.is_object()) return {{"error", "a request must be one JSON object on one line"}};
  // Wrong types in a request are the client's mistake, and must not end the daemon.
  try {
    return handler(request);
  } catch (const json::exception& error) {
    return {{"error", std::string("the request's fields are not as expected: ") + error.what()}};
  }
}

}  // namespace

Result<std::unique_ptr<ControlServer>> ControlServer::start(const fs::path& run_dir, Handler handler, Limits limits) {
  std::error_code error;
  fs::create_directories(run_dir, error);
  if (error) return fail("cannot create the run directory " + run_dir.string() + ": " + error.message());
  auto lock = lock_run_dir(run_dir);
  if (!lock) return tl::unexpected(lock.error());
  const fs::path path = run_dir / "control.sock";
  auto listener = listen_at(path);
  if (!listener) return tl::unexpected(listener.error());
  UniqueFd stop(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!stop) return fail_os("cannot make an eventfd");
  return std::unique_ptr<ControlServer>(
      new ControlServer(path, std::move(handler), limits, std::move(*lock), std::move(*listener), std::move(stop)));
}

ControlServer::ControlServer(fs::path socket_path, Handler handler, Limits limits, UniqueFd lock, UniqueFd listener,
                             UniqueFd stop)
    : socket_path_(std::move(socket_path)),
      handler_(std::move(handler)),
      limits_(limits),
      lock_(std::move(lock)),
      listener_(std::move(listener)),
      stop_(std::move(stop)) {
  thread_ = std::jthread([this] { accept_clients(); });
}

ControlServer::~ControlServer() {
  ::eventfd_write(stop_.get(), 1);
  thread_.join();
  clients_.clear();
  ::unlink(socket_path_.c_str());
}

void ControlServer::accept_clients() {
  for (;;) {
    std::array<pollfd, 2> fds{pollfd{listener_.get(), POLLIN, 0}, pollfd{stop_.get(), POLLIN, 0}};
    if (::poll(fds.data(), fds.size(), -1) < 0) continue;
    if (fds[1].revents != 0) return;
    auto socket =
        std::make_shared<UniqueFd>(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
    if (!*socket) continue;
    clients_.remove_if([](const Client& client) { return client.done->load(); });
    if (clients_.size() >= limits_.clients_max) {
      send_line(socket->get(), {{"error", "twinstepd serves too many clients already: try again"}}, stop_.get(), 0);
      continue;
    }
    auto done = std::make_shared<std::atomic<bool>>(false);
    clients_.push_back({std::jthread([this, socket, done] {
                          serve(*socket);
                          socket->reset();
                          *done = true;
                        }),
                        done});
  }
}

void ControlServer::serve(const UniqueFd& socket) const {
  std::string pending;
  std::array<char, 4096> buffer{};
  Nanos until = io::monotonic_ns() + limits_.idle_ns_max;
  for (;;) {
    if (const auto end = pending.find('\n'); end != std::string::npos) {
      const json reply = answer_line(handler_, std::string_view(pending).substr(0, end));
      pending.erase(0, end + 1);
      until = io::monotonic_ns() + limits_.idle_ns_max;
      if (!send_line(socket.get(), reply, stop_.get(), until)) return;
      continue;
    }
    if (pending.size() > limits_.request_bytes_max) {
      send_line(socket.get(), {{"error", "the request is too long"}}, stop_.get(), until);
      return;
    }
    if (!wait_for(socket.get(), POLLIN, stop_.get(), until)) return;
    const ssize_t got = ::recv(socket.get(), buffer.data(), buffer.size(), MSG_DONTWAIT);
    if (got < 0 && (errno == EINTR || errno == EAGAIN)) continue;
    if (got <= 0) return;
    pending.append(buffer.data(), static_cast<std::size_t>(got));
  }
}

}  // namespace twinstep::daemon
