// SPDX-License-Identifier: Apache-2.0
#include "cli/client.hpp"

#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <iostream>
#include <system_error>

#include "io/unique_fd.hpp"

namespace twinstep::cli {
namespace {

using io::UniqueFd;
using nlohmann::ordered_json;

// Longer than the daemon takes to answer anything.
constexpr timeval kTimeout{.tv_sec = 20, .tv_usec = 0};

std::string words_of(int error) {
  return std::generic_category().message(error);
}

Result<UniqueFd> connect_to(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof address.sun_path) return fail("the path " + path + " is too long for a socket");
  std::memcpy(address.sun_path, path.c_str(), path.size());
  UniqueFd socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!socket || ::setsockopt(socket.get(), SOL_SOCKET, SO_RCVTIMEO, &kTimeout, sizeof kTimeout) != 0 ||
      ::setsockopt(socket.get(), SOL_SOCKET, SO_SNDTIMEO, &kTimeout, sizeof kTimeout) != 0)
    return fail("cannot make a socket: " + words_of(errno));
  if (::connect(socket.get(), static_cast<sockaddr*>(static_cast<void*>(&address)), sizeof address) == 0) return socket;
  if (errno == ENOENT || errno == ECONNREFUSED)
    return fail("no twinstepd serves " + path + ": start it, or name its socket with --socket");
  if (errno == EACCES) return fail("not permitted to use " + path + ": run twinstep as root");
  return fail("cannot connect to " + path + ": " + words_of(errno));
}

Result<std::string> transfer(const UniqueFd& socket, const std::string& request) {
  if (::send(socket.get(), request.data(), request.size(), MSG_NOSIGNAL) != static_cast<ssize_t>(request.size()))
    return fail("twinstepd does not take the request: " + words_of(errno));
  std::string reply;
  std::array<char, 16384> buffer{};
  while (reply.empty() || reply.back() != '\n') {
    const ssize_t got = ::recv(socket.get(), buffer.data(), buffer.size(), 0);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return fail("twinstepd does not answer: " + words_of(errno));
    if (got == 0) return fail("twinstepd ended the connection without an answer");
    reply.append(buffer.data(), static_cast<std::size_t>(got));
  }
  return reply;
}

}  // namespace

Result<ordered_json> ask(const Options& options, const ordered_json& request) {
  const auto socket = connect_to(options.socket);
  if (!socket) return tl::unexpected(socket.error());
  if (options.debug) std::cerr << "> " << request.dump() << '\n';
  const auto reply = transfer(*socket, request.dump() + "\n");
  if (!reply) return tl::unexpected(reply.error());
  if (options.debug) std::cerr << "< " << *reply;
  const auto object = ordered_json::parse(*reply, nullptr, false);
  if (object.is_object() && object.contains("error") && object["error"].is_string()) return fail(object["error"]);
  if (object.is_object() && object.contains("result")) return object["result"];
  return fail("twinstepd's answer is not understood: are twinstep and twinstepd of the same version?");
}

}  // namespace twinstep::cli
