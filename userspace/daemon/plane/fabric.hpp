// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <shared_mutex>
#include <span>
#include <string>
#include <vector>

#include "core/result.hpp"
#include "daemon/plane/local_inbox.hpp"
#include "io/netlink/interrupt_deferral.hpp"
#include "io/xdp/programs.hpp"
#include "io/xsk/device_queue.hpp"
#include "io/xsk/umem.hpp"

namespace twinstep::daemon {

/// One NIC of a VM, as the configuration names it.
struct FabricNic {
  std::string uplink;
  io::MacAddress mac{};
  std::uint32_t umem_frames = 0;  ///< chunks of packet memory, 4 KiB each, with what its sockets receive into
};

class Fabric;

/// Where a VM's NICs are in the fabric: the first one's slot, the others' follow.
struct FabricPlace {
  Fabric& fabric;
  std::uint32_t slot = 0;
};

/// A device that several VMs use: the link, or an uplink.
struct FabricDevice {
  std::string name;
  int ifindex = 0;
  io::XdpAttachment attachment;
  std::vector<std::unique_ptr<io::DeviceQueue>> queues;  ///< all that the device receives on, by number
  std::optional<io::InterruptDeferral> deferral;         ///< from the first user on that polls it busily
};

/// What all packet planes of a host share: the XDP programs with their maps, the packet memory, and the devices. A NIC
/// of a VM has a slot, its number in the configuration: its place in the maps, and its share of the memory. Any thread.
class Fabric {
 public:
  /// Loads the programs and reserves the memory. nics: by slot, at most TS_SLOTS_MAX. Devices are looked up in the
  /// caller's network namespace, later too.
  static Result<std::unique_ptr<Fabric>> create(const std::string& link, const std::vector<FabricNic>& nics);
  Fabric(const Fabric&) = delete;
  Fabric& operator=(const Fabric&) = delete;

  /// A device in use: its program is attached and its queues are open until the last user lets go. An uplink must not
  /// be opened before the link, which decides how the uplinks can be driven.
  Result<std::shared_ptr<FabricDevice>> open_link() { return open(io::XdpRole::link, link_, true); }
  Result<std::shared_ptr<FabricDevice>> open_uplink(const std::string& uplink, const FabricDevice& link);

  /// The caller polls the device without end from here on.
  Result<void> defer_interrupts(FabricDevice& device);

  io::XdpPrograms& programs() { return programs_; }
  io::Umem& umem() { return *umem_; }
  /// The slot's share of the memory.
  io::ChunkPool& chunks(std::uint32_t slot) { return umem_->pool(slot); }
  const std::string& link() const { return link_; }
  /// Whether frames may be larger than a page: an uplink's were when the fabric was made, and the kernel can.
  bool fragments() const { return umem_->fragments(); }
  /// Whether other NICs have the same uplink as this one.
  bool shares_uplink(std::uint32_t slot) const;

  /// Where the slot takes frames of other VMs of this host; nullptr: nowhere any more.
  void set_inbox(std::uint32_t slot, LocalInbox* inbox);
  /// Gives the NICs that have the same uplink as `slot` what is for them of a frame that leaves there: a switch doesn't
  /// send a frame back to the port that it came from. Returns whether it is for one of them alone.
  bool pass_on(std::uint32_t slot, std::span<const std::byte> frame);

 private:
  /// Of one device: which pools its frames are received into, one for each queue, and the device while it is in use.
  struct Place {
    std::size_t first_pool = 0;
    std::uint32_t queues = 0;
    io::DeviceQueue::Rings rings;
    std::size_t users = 0;
    std::unique_ptr<FabricDevice> device;
  };
  Fabric(io::XdpPrograms programs, std::string link, std::vector<FabricNic> nics)
      : programs_(std::move(programs)), link_(std::move(link)), nics_(std::move(nics)) {}
  Result<void> reserve_memory(bool fragments);
  void remove_leftovers() const;
  static Result<std::unique_ptr<Fabric>> create(const std::string& link, const std::vector<FabricNic>& nics,
                                                bool fragments);
  Result<std::shared_ptr<FabricDevice>> open(io::XdpRole role, const std::string& name, bool native);
  Result<std::vector<std::unique_ptr<io::DeviceQueue>>> open_queues(const std::string& name, const Place& place,
                                                                    io::DeviceQueue::Copies copies);
  Result<std::unique_ptr<FabricDevice>> make(io::XdpRole role, const std::string& name, bool native,
                                             const Place& place);
  void close(Place& place);

  io::XdpPrograms programs_;
  std::string link_;
  std::vector<FabricNic> nics_;
  std::unique_ptr<io::Umem> umem_;
  std::mutex mutex_;  // guards the devices and their numbers of users
  std::shared_mutex inbox_mutex_;
  std::array<LocalInbox*, TS_SLOTS_MAX> inboxes_{};  // by slot; under inbox_mutex_
  std::map<std::string, Place> places_;              // by name; all there from create() on
};

}  // namespace twinstep::daemon
