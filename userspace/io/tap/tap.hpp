// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "core/result.hpp"
#include "io/tap/offload_stage.hpp"
#include "io/unique_fd.hpp"

namespace twinstep::io {

/// Whether the guest may leave checksums and segmentation to its host.
enum class GuestOffloads : std::uint8_t { off, on };
const char* to_string(GuestOffloads offloads);

/// The VM's NIC on the host (Linux tun/tap driver, tuntap.rst). The device lives as long as its descriptor is open here
/// or in QEMU. The host's own stack says nothing into it: IPv6 is off.
/// Without offloads the tap has no virtio header, which keeps partial checksums and unsegmented frames out, and is
/// non-blocking, so that XDP runs natively on what the guest sends. With them it has one, and an OffloadStage.
class Tap {
 public:
  static constexpr unsigned kMtuBytesMin = 576;
  /// What fits one page beside XDP's headroom, an encapsulation and two VLAN tags, on every kind of device.
  static constexpr unsigned kMtuBytesOnePage = 3400;
  static constexpr unsigned kMtuBytesMax = 9000;

  /// Creates the device and brings it up. name: 1 to 13 characters, not in use by another process.
  /// mtu_bytes: kMtuBytesMin to kMtuBytesMax.
  static Result<Tap> create(const std::string& name, unsigned mtu_bytes, GuestOffloads offloads);

  const std::string& name() const { return name_; }
  /// The device on which the guest's whole frames appear; the tap itself without offloads.
  const std::string& output() const { return stage_ ? stage_->output() : name_; }
  unsigned mtu() const { return mtu_bytes_; }
  GuestOffloads offloads() const { return stage_ ? GuestOffloads::on : GuestOffloads::off; }
  /// For QEMU's `-netdev tap,fd=`: to be passed on without close-on-exec.
  int fd() const { return fd_.get(); }

  /// Sends a frame as if the guest had. False: the tap doesn't take it.
  bool send_as_guest(std::span<const std::byte> frame) const;
  /// Sends a mark as if the guest had: it follows all that the guest has sent to output(). False: nothing to wait for,
  /// without offloads a frame is there when the guest's write returns.
  bool send_mark() const;
  static bool is_mark(std::span<const std::byte> frame);

  /// A frame that no guest takes in. QEMU 7.2 reads one more frame after its VM has stopped and keeps it until the VM
  /// runs (net/tap.c, net/queue.c): let it be this one, and all others stay where drain() finds them.
  static std::span<const std::byte> decoy();
  /// Whether frames wait to be read.
  bool unread() const;
  /// Takes the frames that the guest has not consumed, oldest first, at most `frames_max` of them; no decoys. A running
  /// guest reads the same queue.
  std::vector<std::vector<std::byte>> drain(std::size_t frames_max) const;

 private:
  Tap(std::string name, unsigned mtu_bytes, UniqueFd fd, std::optional<OffloadStage> stage)
      : name_(std::move(name)), mtu_bytes_(mtu_bytes), fd_(std::move(fd)), stage_(std::move(stage)) {}
  std::string name_;
  unsigned mtu_bytes_;
  UniqueFd fd_;
  std::optional<OffloadStage> stage_;
};

}  // namespace twinstep::io
