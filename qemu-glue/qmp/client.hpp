// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <cstdint>
#include <deque>
#include <functional>
#include <nlohmann/json.hpp>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "core/result.hpp"
#include "io/unique_fd.hpp"
#include "memory/deadline.hpp"

namespace twinstep::qemu {

using Json = nlohmann::json;
using Milliseconds = std::chrono::milliseconds;

/// One asynchronous message of QEMU.
struct QmpEvent {
  std::string name;
  Json data;  ///< an object, empty where the event has none
};

/// A client of QEMU's monitor protocol over a unix socket (QEMU's docs/interop/qmp-spec). For one thread at a time;
/// each call blocks for its timeout at most.
class QmpClient {
 public:
  static constexpr std::size_t kEventsMax = 256;              ///< kept unread; the oldest is dropped first
  static constexpr std::size_t kMessageBytesMax = 16U << 20;  ///< a longer message counts as damage

  /// Connects to QEMU's listening socket and negotiates capabilities. Waits for the socket to appear.
  static Result<QmpClient> connect(const std::string& path, Milliseconds timeout);
  /// The same on a socket that is connected already.
  static Result<QmpClient> adopt(io::UniqueFd socket, Milliseconds timeout);

  /// Runs a command and returns its result. The Error names the command and QEMU's reason. `fd`: passed along (add-fd,
  /// getfd).
  Result<Json> execute(std::string_view command, Json arguments, Milliseconds timeout,
                       std::optional<int> fd = std::nullopt);

  using EventPredicate = std::function<bool(const QmpEvent&)>;
  /// Takes the first event of this name for which `wanted` holds from those kept, or waits for it.
  Result<QmpEvent> wait_event(std::string_view name, const EventPredicate& wanted, Milliseconds timeout);

  /// QEMU closed its monitor: it ended, or was killed. Every later call fails.
  bool closed() const { return closed_; }

 private:
  explicit QmpClient(io::UniqueFd socket) : socket_(std::move(socket)) {}

  Result<void> negotiate(Milliseconds timeout);
  Result<void> send(const std::string& text, std::optional<int> fd, const memory::Deadline& deadline);
  Result<Json> read_message(const memory::Deadline& deadline);
  Result<void> fill_buffer(const memory::Deadline& deadline);
  Result<void> wait_for(short poll_events, const memory::Deadline& deadline);
  Result<void> wait_reply(std::uint64_t id, const memory::Deadline& deadline, Json& reply);
  void keep_event(Json message);
  tl::unexpected<Error> fail_closed();

  io::UniqueFd socket_;
  std::string buffer_;
  std::size_t searched_ = 0;  // bytes of buffer_ known to hold no line end
  std::deque<QmpEvent> events_;
  std::uint64_t last_id_ = 0;
  bool closed_ = false;
};

}  // namespace twinstep::qemu
