// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "core/result.hpp"
#include "io/netlink/netdev.hpp"
#include "io/unique_fd.hpp"

namespace twinstep::io {

/// Lets a device receive frames for an address that isn't its own, and all multicast frames: a NIC drops them before
/// XDP otherwise (packet(7), PACKET_ADD_MEMBERSHIP). Undone on destruction, and by the kernel when the process dies.
class Reception {
 public:
  /// Fails without CAP_NET_RAW. A device that can't filter by more addresses than its own receives everything.
  static Result<Reception> open(const std::string& device, const MacAddress& address);

 private:
  explicit Reception(UniqueFd socket) : socket_(std::move(socket)) {}
  UniqueFd socket_;
};

}  // namespace twinstep::io
