// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>

#include "core/result.hpp"
#include "core/session/message.hpp"
#include "core/time.hpp"
#include "wire/codec.hpp"

namespace twinstep::io {

struct ControlLinkConfig {
  std::string self;          ///< this host's name
  std::string peer;          ///< the other's; the host whose name is smaller dials, the other one listens
  std::string address;       ///< this host's numeric address on the link
  std::string peer_address;  ///< the other's
  std::uint16_t port = 0;    ///< TCP, the same on both hosts
  std::string software_version;
  Nanos greeting_timeout_ns = kSecond;  ///< for connecting and for the exchange of Hello, each
  Nanos user_timeout_ns = 2 * kSecond;  ///< a peer that acknowledges nothing for so long is lost
  Nanos retry_min_ns = 100 * kMillisecond;
  Nanos retry_max_ns = kSecond;
  std::size_t queue_bytes_max = std::size_t{128} << 20;  ///< outgoing, not yet taken by the socket
};

/// Called in the link's own thread, one at a time. They may call send(); they must not destroy the link.
struct ControlLinkHandlers {
  /// The peer's daemon is there and fits.
  std::function<void(const wire::Hello&)> on_connected;
  std::function<void(wire::Envelope&&)> on_message;
  /// Follows each on_connected once, except when the link is destroyed.
  std::function<void(const std::string& reason)> on_disconnected;
  /// Somebody answered who is not a peer to work with (another version, another host). Called again only when the
  /// reason changes.
  std::function<void(const std::string& reason)> on_refused;
};

/// The control connection between the two daemons: kept up by a thread of its own, connected anew after each loss.
class ControlLink {
 public:
  /// Errors: an address that isn't this host's or isn't numeric, a port that is taken, equal host names.
  static Result<std::unique_ptr<ControlLink>> create(ControlLinkConfig config, ControlLinkHandlers handlers);
  /// Sends what the socket still takes, closes, joins the thread. No handler is called afterwards.
  ~ControlLink();
  ControlLink(const ControlLink&) = delete;
  ControlLink& operator=(const ControlLink&) = delete;

  /// Queues a message in order. Any thread. false: not connected, the queue is full, or the body is over the wire's
  /// limit; the message is then not sent at all.
  bool send(std::uint16_t vm_id, const session::Message& message, std::span<const std::byte> body);
  bool connected() const;

 private:
  class Loop;
  explicit ControlLink(std::unique_ptr<Loop> loop);
  std::unique_ptr<Loop> loop_;
};

}  // namespace twinstep::io
