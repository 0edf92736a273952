// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "bpf/abi/twinstep_abi.h"
#include "core/compare/digest.hpp"
#include "core/result.hpp"
#include "io/netlink/netdev.hpp"
#include "io/unique_fd.hpp"
#include "io/xdp/dispatcher.hpp"
#include "io/xdp/flow_tables.hpp"
#include "io/xdp/lanes.hpp"
#include "io/xdp/match_table.hpp"
#include "io/xdp/mode.hpp"

namespace twinstep::io {

/// The three devices that carry a VM's frames.
enum class XdpRole : std::uint8_t { tap, uplink, link };
const char* to_string(XdpRole role);

/// A program on a device: alone by a link, which the kernel ends when the process dies, or beside others in libxdp's
/// dispatcher, where it lets all pass then. It is taken off with the object.
struct XdpAttachment {
  UniqueFd link;
  std::unique_ptr<DispatchedProgram> dispatched;  ///< instead of the link
  XdpMode mode{};
};

/// The XDP programs and their maps: one set for a host, a slot in it for each NIC of a VM. Everything is undone on
/// destruction, and by the kernel when the process dies: then no frame passes between a VM and its clients. Any thread.
class XdpPrograms {
 public:
  /// Loads the programs. fragments: frames may be larger than a page. Fails where the kernel lacks what they need
  /// (Linux 5.18 or newer), or without CAP_BPF.
  static Result<XdpPrograms> load(bool fragments = false);
  ~XdpPrograms();
  XdpPrograms(XdpPrograms&&) noexcept;
  XdpPrograms& operator=(XdpPrograms&&) noexcept;

  /// Attaches the role's program, natively if `native` and the driver can. Where libxdp's dispatcher is on an uplink or
  /// link, the program joins those that are there. Another program is never replaced: an error names it.
  Result<XdpAttachment> attach(XdpRole role, const std::string& device, bool native);
  /// Takes out of libxdp's dispatcher on the device what a process that was killed left there. No other process with
  /// these programs may be alive in the network namespace.
  static Result<void> remove_leftovers(const std::string& device);
  /// XDP programs on a device that aren't of these, as in "xdp_pass (id 12)".
  std::vector<std::string> other_programs(int ifindex) const;

  /// Makes a frame arrive at a device, as if it came from outside, and have the role's program there run on it. mode:
  /// as attached. At most kArrivingBytesMax bytes. That nothing comes of it is no error.
  Result<void> arrive(XdpRole role, XdpMode mode, int ifindex, std::span<const std::byte> frame) const;
  static constexpr std::size_t kArrivingBytesMax = 3072;

  /// Digests of the slot's later frames are under this key.
  /// compares: whether the programs may compare by it themselves, too.
  Result<void> set_digest_key(std::uint32_t slot, const compare::DigestKey& key, bool compares);

  struct SlotDevices {
    int tap_ifindex = 0;     ///< where the guest gets frames
    int output_ifindex = 0;  ///< where the guest's frames appear: the tap itself, or its OffloadStage's output
    int uplink_ifindex = 0;
    int link_ifindex = 0;
    bool uplink_zero_copy = false;  ///< some of its queues; the slot has TS_SLOT_ZERO_COPY then
    MacAddress vm_mac{};
  };
  /// Makes the devices known: which frames are the slot's, and where they go. slot: 0 to TS_SLOTS_MAX - 1.
  Result<void> set_devices(std::uint32_t slot, const SlotDevices& devices);
  /// The AF_XDP socket that takes the slot's frames of one receive queue of this role's device. queue: below
  /// TS_QUEUES_MAX.
  Result<void> set_socket(XdpRole role, std::uint32_t slot, std::uint32_t queue, int socket_fd);
  /// No socket takes them any more, on any queue.
  void remove_sockets(XdpRole role, std::uint32_t slot);
  /// Frames on the link for `target` are the slot's.
  Result<void> add_target(const ts_link_target& target, std::uint32_t slot);
  void remove_target(const ts_link_target& target);
  /// Forgets all that was set for the slot. devices: as in set_devices().
  void clear_slot(std::uint32_t slot, const SlotDevices& devices);
  Result<void> set_slot(std::uint32_t slot, const ts_slot_config& config);

  /// The connections that the programs compare by themselves.
  MatchTable& matches();
  Lanes& lanes();

  /// The connections that the programs of a secondary know.
  FlowTables& flows();
  const FlowTables& flows() const;

  std::optional<ts_translation> translation(const ts_flow_key& key) const;
  /// Fails where TS_TRANSLATIONS_MAX connections are there.
  Result<void> set_translation(const ts_flow_key& key, const ts_translation& translation);
  void remove_translation(const ts_flow_key& key);
  std::vector<std::pair<ts_flow_key, ts_translation>> translations(std::uint32_t slot) const;

  /// Sums over all processors.
  ts_counters counters(std::uint32_t slot) const;

 private:
  struct Impl;
  explicit XdpPrograms(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace twinstep::io
