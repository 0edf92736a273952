// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "core/result.hpp"
#include "core/time.hpp"
#include "io/unique_fd.hpp"

namespace twinstep::io {

/// Says to which protection of which VM page streams belong.
struct PageStreamToken {
  std::uint32_t pairing = 0;
  std::uint16_t vm_id = 0;
  bool operator==(const PageStreamToken&) const = default;
};

/// Streams of one VM at most.
inline constexpr std::size_t kPageStreamsMax = 8;

/// The secondary's end: where the primary's page streams arrive.
class PageStreamListener {
 public:
  /// address: this host's numeric address on the link. port: TCP; 0: the kernel picks a free one (several VMs).
  static Result<PageStreamListener> open(const std::string& address, std::uint16_t port);
  std::uint16_t port() const { return port_; }
  /// Waits until all the streams are there that show `token`, as many as the primary says; others are turned away.
  /// Gives up after `timeout_ns`, or soon after `wanted` has become false. The sockets are connected and blocking.
  Result<std::vector<UniqueFd>> accept(
      const PageStreamToken& token, Nanos timeout_ns, const std::function<bool()>& wanted = [] { return true; }) const;

 private:
  PageStreamListener(UniqueFd socket, std::uint16_t port) : socket_(std::move(socket)), port_(port) {}
  UniqueFd socket_;
  std::uint16_t port_;
};

/// The primary's end: returns when the secondary has accepted `token` on `streams` streams (1..kPageStreamsMax), in
/// their order. The sockets are connected and blocking.
Result<std::vector<UniqueFd>> connect_page_streams(const std::string& address, const std::string& peer_address,
                                                   std::uint16_t port, const PageStreamToken& token,
                                                   std::size_t streams, Nanos timeout_ns);

}  // namespace twinstep::io
