// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <netinet/in.h>

#include <cstddef>
#include <cstdint>
#include <string>
#include <tl/expected.hpp>
#include <utility>
#include <vector>

#include "core/result.hpp"
#include "io/unique_fd.hpp"

namespace twinstep::lab {

/// Why an operation of a load doesn't count.
struct OperationError {
  std::string what;               ///< refused, reset, timeout, closed_early, bad_head, wrong_bytes
  std::uint64_t bytes_wrong = 0;  ///< of those received
};

template <typename T>
using Outcome = tl::expected<T, OperationError>;

/// A blocking TCP connection to the guest's HTTP server. Opening, reads and writes give up after kIoTimeoutSeconds.
class Connection {
 public:
  static constexpr int kIoTimeoutSeconds = 30;

  explicit Connection(const sockaddr_in& address) : address_(address) {}

  void close();
  /// Opens it if it isn't open.
  Outcome<void> open();
  Outcome<void> send(const void* data, std::size_t bytes);
  /// extra: more header lines, each with its CRLF.
  Outcome<void> request(const std::string& method, const std::string& target, const std::string& extra = {});
  /// Receives the answer's head, which must be of a success. Returns the body's size.
  Outcome<std::uint64_t> response();
  /// The next `bytes` bytes, which must be the content with `seed` from `offset` on (guest/content.h).
  Outcome<void> receive_content(std::uint64_t seed, std::uint64_t offset, std::uint64_t bytes);
  Outcome<std::string> receive_text(std::uint64_t bytes);

 private:
  Outcome<void> fill();

  sockaddr_in address_;
  io::UniqueFd socket_;
  std::vector<unsigned char> received_;  // and not consumed
};

/// Waits for connections that the guest opens.
class Listener {
 public:
  static Result<Listener> open();
  std::uint16_t port() const { return port_; }
  /// Takes one connection, over which nothing but `bytes` bytes of content must come.
  Outcome<void> take(std::uint64_t seed, std::uint64_t bytes) const;

 private:
  Listener(io::UniqueFd socket, std::uint16_t port) : socket_(std::move(socket)), port_(port) {}

  io::UniqueFd socket_;
  std::uint16_t port_;
};

}  // namespace twinstep::lab
