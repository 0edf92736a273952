// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>

#include "core/result.hpp"
#include "io/netlink/netdev.hpp"
#include "io/unique_fd.hpp"

namespace twinstep::io {

/// A VM's copy of the group-addressed frames that a device receives (broadcast and multicast), taken beside the host's
/// own stack (packet(7)). That the device lets multicast through is Reception's business. One thread.
class GroupSocket {
 public:
  static Result<std::unique_ptr<GroupSocket>> open(const std::string& device, const MacAddress& vm_mac);
  GroupSocket(const GroupSocket&) = delete;
  GroupSocket& operator=(const GroupSocket&) = delete;

  int fd() const { return fd_.get(); }
  /// The next frame that waits, valid until the next call. Not the VM's own.
  std::optional<std::span<const std::byte>> receive();
  /// Frames that nobody took in time, since the last call.
  std::uint64_t take_lost();

 private:
  explicit GroupSocket(const MacAddress& vm_mac) : vm_mac_(vm_mac) {}
  Result<void> configure();
  Result<void> bind(int ifindex);

  static constexpr std::size_t kFrameBytesMax = std::size_t{64} * 1024;
  static constexpr std::size_t kVlanTagBytes = 4;

  UniqueFd fd_;
  MacAddress vm_mac_;
  std::array<std::byte, kVlanTagBytes + kFrameBytesMax> buffer_;  // in front: room for a tag that the kernel took out
};

}  // namespace twinstep::io
