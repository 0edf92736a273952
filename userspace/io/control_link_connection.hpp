// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <functional>
#include <span>
#include <utility>
#include <vector>

#include "core/result.hpp"
#include "io/unique_fd.hpp"
#include "wire/codec.hpp"

namespace twinstep::io {

/// One TCP connection that carries frames, on a non-blocking socket. Not thread-safe.
class ControlLinkConnection {
 public:
  explicit ControlLinkConnection(UniqueFd socket) : socket_(std::move(socket)) {}

  int fd() const { return socket_.get(); }
  std::size_t unsent_bytes() const { return outgoing_.size() - sent_; }
  /// The transport ended, as opposed to a peer that said something wrong.
  bool lost() const { return lost_; }

  /// Adds bytes to what is to be sent. The owner bounds what it gives.
  void queue(std::span<const std::byte> bytes);
  /// Sends what the socket takes now. Error: the connection is lost.
  Result<void> flush();
  /// Reads what is there and gives each whole frame to `on_frame`, which ends the connection by returning an Error.
  Result<void> receive(const std::function<Result<void>(wire::Frame&&)>& on_frame);

 private:
  tl::unexpected<Error> lose(Error reason);

  UniqueFd socket_;
  wire::Decoder decoder_;
  std::vector<std::byte> outgoing_;
  std::size_t sent_ = 0;  // of outgoing_
  bool lost_ = false;
};

}  // namespace twinstep::io
