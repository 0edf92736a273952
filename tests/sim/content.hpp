// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>

#include "core/compare/frame.hpp"
#include "random.hpp"

namespace twinstep::sim {

// The dialogue on a TCP connection: the client sends a request, 12 bytes and a body; the server answers with a cookie
// of 4 bytes and a body; the next request quotes the cookie. Bodies are known to both sides, the cookie only to the
// guest that chose it: a guest that did not send the cookie that the client got refuses the next request.

struct Request {
  std::uint32_t reply_bytes = 0;
  std::uint32_t body_bytes = 0;
  std::uint32_t cookie = 0;
};
inline constexpr std::size_t kRequestBytes = 12;
inline constexpr std::size_t kCookieBytes = 4;

/// The byte at `position` of the server's stream; of a refused request it is the complement.
inline std::byte served_byte(const compare::FlowKey& flow, std::uint64_t position) {
  return static_cast<std::byte>(mix((std::uint64_t{flow.peer_port_be} << 40) + position));
}
/// The byte at `position` of the client's stream, where it is body.
inline std::byte client_byte(const compare::FlowKey& flow, std::uint64_t position) {
  return ~served_byte(flow, position);
}
/// What the server makes of a datagram's byte.
inline std::byte echoed(std::byte byte) {
  return byte ^ std::byte{0x5a};
}

}  // namespace twinstep::sim
