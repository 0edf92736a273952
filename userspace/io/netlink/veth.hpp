// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "core/result.hpp"

namespace twinstep::io {

/// A pair of veth devices (veth(4)) of the calling thread's network namespace, with one queue each. Gone with the
/// object; a pair that a killed process left is replaced by the next of the same names.
class VethPair {
 public:
  /// The devices are made and stay down. Names: 1 to 15 characters. mtu_bytes: largest layer 3 packet of both.
  static Result<VethPair> create(const std::string& name, const std::string& peer_name, unsigned mtu_bytes);
  ~VethPair();
  VethPair(VethPair&& other) noexcept;
  VethPair& operator=(VethPair&& other) noexcept;

  const std::string& name() const { return name_; }
  const std::string& peer_name() const { return peer_name_; }

 private:
  VethPair(std::string name, std::string peer_name);
  std::string name_;  // empty: moved from
  std::string peer_name_;
};

}  // namespace twinstep::io
