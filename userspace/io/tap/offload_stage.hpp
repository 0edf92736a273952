// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <utility>

#include "core/result.hpp"
#include "io/netlink/veth.hpp"

namespace twinstep::io {

/// Finishes what a guest with checksum and segmentation offloads leaves to its host. A tc program on the tap sends each
/// packet through a veth pair that has no offloads, so that the kernel fills in checksums and segments on the way:
/// whole frames, in order, come out of the pair's other end, where XDP runs natively. Only what the guest sends goes
/// this way.
class OffloadStage {
 public:
  /// Needs tc's BPF programs and veth in the kernel. tap: up to 13 characters; the pair is called TAP-i and TAP-o.
  static Result<OffloadStage> create(const std::string& tap, unsigned mtu_bytes);

  /// The device on which the guest's frames appear.
  const std::string& output() const { return pair_.peer_name(); }

 private:
  explicit OffloadStage(VethPair pair) : pair_(std::move(pair)) {}
  VethPair pair_;
};

}  // namespace twinstep::io
