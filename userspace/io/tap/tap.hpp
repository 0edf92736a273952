// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "core/result.hpp"
#include "io/unique_fd.hpp"

namespace twinstep::io {

/// The VM's NIC on the host (Linux tun/tap driver, tuntap.rst). Made so that XDP runs natively on what the guest sends:
/// non-blocking, with no virtio header, which also keeps partial checksums and unsegmented frames out. The device lives
/// as long as its descriptor is open here or in QEMU. The host's own stack says nothing into it: IPv6 is off.
class Tap {
 public:
  /// Creates the device and brings it up. name: 1 to 15 characters, not in use by another process.
  /// mtu_bytes: 576 to 3500, what one page and XDP's headroom allow.
  static Result<Tap> create(const std::string& name, unsigned mtu_bytes);

  const std::string& name() const { return name_; }
  /// For QEMU's `-netdev tap,fd=`: to be passed on without close-on-exec.
  int fd() const { return fd_.get(); }

  /// Whether a frame for the guest lies here that the guest has not consumed.
  bool has_unread() const;
  /// Takes the frames that the guest has not consumed, oldest first, at most `frames_max` of them. Meant for a stopped
  /// guest: a running one reads the same queue.
  std::vector<std::vector<std::byte>> drain(std::size_t frames_max) const;

 private:
  Tap(std::string name, UniqueFd fd) : name_(std::move(name)), fd_(std::move(fd)) {}
  std::string name_;
  UniqueFd fd_;
};

}  // namespace twinstep::io
