// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <utility>

#include "core/result.hpp"
#include "core/time.hpp"
#include "io/unique_fd.hpp"

namespace twinstep::io {

/// Says to which protection of which VM a page stream belongs.
struct PageStreamToken {
  std::uint32_t pairing = 0;
  std::uint16_t vm_id = 0;
  bool operator==(const PageStreamToken&) const = default;
};

/// The secondary's end: where the primary's page stream arrives.
class PageStreamListener {
 public:
  /// address: this host's numeric address on the link. port: TCP; 0: the kernel picks a free one (several VMs).
  static Result<PageStreamListener> open(const std::string& address, std::uint16_t port);
  std::uint16_t port() const { return port_; }
  /// Waits for the stream that shows `token`; others are turned away. The socket is connected and blocking.
  Result<UniqueFd> accept(const PageStreamToken& token, Nanos timeout_ns) const;

 private:
  PageStreamListener(UniqueFd socket, std::uint16_t port) : socket_(std::move(socket)), port_(port) {}
  UniqueFd socket_;
  std::uint16_t port_;
};

/// The primary's end: returns when the secondary has accepted `token`. The socket is connected and blocking.
Result<UniqueFd> connect_page_stream(const std::string& address, const std::string& peer_address, std::uint16_t port,
                                     const PageStreamToken& token, Nanos timeout_ns);

}  // namespace twinstep::io
