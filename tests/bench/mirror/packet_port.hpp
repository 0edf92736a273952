// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>

#include "core/result.hpp"
#include "io/netlink/netdev.hpp"
#include "io/netlink/veth.hpp"
#include "io/unique_fd.hpp"
#include "segment.hpp"

namespace twinstep::bench {

/// One end of a veth pair to which XDP programs redirect both the SVM's output and its input, and the way to the SVM's
/// tap.
class PacketPort {
 public:
  /// Makes the pair. Of frames from `vm_mac` only the headers are read.
  static Result<std::unique_ptr<PacketPort>> open(const std::string& name, const std::string& tap,
                                                  const io::MacAddress& vm_mac);

  /// The device to redirect to.
  int ifindex() const { return ifindex_; }
  /// Waits, at most timeout_ms, and handles one batch: handle(frame, whether it is from the VM).
  void receive(int timeout_ms, const std::function<void(std::span<const std::byte>, bool)>& handle);
  /// To the tap; false: its queue is full.
  bool deliver(const Bytes& frame);
  /// Frames that came faster than they were read, so far.
  std::uint64_t lost();

 private:
  static constexpr std::size_t kBatch = 64;
  static constexpr std::size_t kFrameBytesMax = 4096;

  PacketPort(io::VethPair pair, const io::MacAddress& vm_mac) : pair_(std::move(pair)), vm_mac_(vm_mac) {}
  Result<void> prepare(const std::string& tap);

  io::VethPair pair_;
  io::MacAddress vm_mac_;
  int ifindex_ = 0;
  io::UniqueFd program_;
  io::UniqueFd in_;
  io::UniqueFd out_;
  std::array<std::array<std::byte, kFrameBytesMax>, kBatch> buffers_{};
  std::uint64_t lost_ = 0;
};

}  // namespace twinstep::bench
