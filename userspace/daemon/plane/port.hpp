// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "core/compare/frame.hpp"
#include "daemon/plane/fabric.hpp"
#include "daemon/plane/plane.hpp"
#include "daemon/plane/tcp_edit.hpp"
#include "io/netlink/reception.hpp"
#include "io/packet/group_socket.hpp"
#include "io/xsk/umem.hpp"

namespace twinstep::daemon {

/// The plane's part of the fabric: its slot with its configuration, its tap, and its own AF_XDP socket on tap, uplink
/// and link. The plane's thread only.
class Port {
 public:
  /// fabric must outlive the port.
  static Result<std::unique_ptr<Port>> open(const PlaneConfig& config, Fabric& fabric, const io::Tap& tap);
  /// Forgets the slot; no frame passes any more.
  ~Port();
  Port(const Port&) = delete;
  Port& operator=(const Port&) = delete;

  /// Receives what the guest sends.
  io::XskSocket& tap() { return *tap_; }
  /// Sends what the guest gets.
  io::XskSocket& input() { return input_ ? *input_ : *tap_; }
  /// Send. All by one queue, or the NIC could put one frame before another.
  io::XskSocket& uplink() { return *uplinks_[slot_ % uplinks_.size()]; }
  io::XskSocket& link() { return *links_[slot_ % links_.size()]; }
  /// Receive, one on each queue. A NIC keeps a flow on one queue.
  using Sockets = std::vector<std::unique_ptr<io::XskSocket>>;
  const Sockets& uplinks() const { return uplinks_; }
  const Sockets& links() const { return links_; }
  /// Lets the drivers work on what the sockets receive. Busy polling only.
  void poll_devices();
  /// On how many queues it did: a driver tells with a frame for user space which its queue is, and some never do.
  std::size_t queues_polled() const;
  /// Whether the devices still have the queues that they had when the sockets were opened.
  Result<void> check_queues() const;
  /// Group-addressed frames of the uplink.
  io::GroupSocket& group() { return *group_; }
  /// The slot's share of the packet memory.
  io::ChunkPool& umem() { return umem_; }
  io::XdpPrograms& programs() { return fabric_.programs(); }
  std::uint32_t slot_number() const { return slot_; }
  const NicView& view() const { return view_; }
  /// With the devices' states.
  NicView view_now() const;
  /// Largest Ethernet frame on the link, in bytes.
  std::size_t link_frame_bytes_max() const { return link_frame_bytes_max_; }

  /// Takes effect on the next frame.
  void set_modes(ts_tap_mode tap, ts_uplink_mode uplink, bool link_open);
  void set_uplink_mode(ts_uplink_mode mode);
  /// Nothing of it is committed.
  void set_epoch(std::uint32_t epoch);
  /// Whether mirrored frames are dropped.
  void set_deaf(bool deaf);
  /// The state that the epoch began with is committed: output of it may leave.
  void set_committed();
  /// Whether the programs have translations to look for.
  void set_translates(bool translates);
  Result<void> set_peer(std::uint16_t vm_id, const io::MacAddress& link_peer_mac);
  const ts_slot_config& slot() const { return view_.slot; }
  /// Whether the VM's frames may be larger than a page: all of its input comes by user space then, and all its output.
  bool fragments() const { return (view_.slot.flags & TS_SLOT_FRAGMENTS) != 0; }
  /// What frames of the start-up proof carry from here on; not 0.
  void set_probe(std::uint64_t nonce);
  /// A frame arrives at a device, as if it came from outside.
  Result<void> arrive(io::XdpRole role, std::span<const std::byte> frame);

  /// A received frame's bytes, and the metadata that the tap program put in front of them. The bytes of one in several
  /// parts are a copy, valid until the next call.
  std::span<const std::byte> bytes(io::XskSocket::Frame frame);
  /// To change the frame itself, whose headers lie in its first part.
  TcpEdit edit(io::XskSocket::Frame frame);
  ts_frame_meta meta(io::XskSocket::Frame frame);
  /// Brings both into the cache, and the headers: another processor wrote them.
  void prefetch(io::XskSocket::Frame frame) const;

  /// Sends a frame; its chunk is given up either way.
  void send(io::XskSocket& socket, io::XskSocket::Frame frame);
  void send_copy(io::XskSocket& socket, std::span<const std::byte> bytes);
  /// The same out of the uplink, or to the VMs of this host that it is for.
  void emit(io::XskSocket::Frame frame);
  void emit_copy(std::span<const std::byte> bytes);
  /// What other VMs of this host sent to this one.
  LocalInbox& inbox() { return inbox_; }
  static io::XskSocket::Losses losses(const Sockets& sockets);
  ts_counters counters() const;
  std::uint64_t frames_unsent() const { return frames_unsent_; }

  ts_flow_key key_of(const compare::FlowKey& flow) const;

 private:
  Port(Fabric& fabric, std::uint32_t slot) : fabric_(fabric), umem_(fabric.chunks(slot)), slot_(slot) {}
  Result<void> receive_for(const io::MacAddress& vm_mac);
  Result<void> open_devices();
  Result<std::unique_ptr<io::DeviceQueue>> open_queue(const std::string& device, io::DeviceQueue::Use use);
  Result<void> set_devices();
  Result<void> admit_encapsulated(const io::Tap& tap);
  Result<void> open_sockets();
  void begin_busy_poll();
  Result<void> open_sockets_on(io::XdpRole role, const FabricDevice& device, Sockets& sockets);
  Result<std::unique_ptr<io::XskSocket>> open_socket(io::XdpRole role, io::DeviceQueue& queue);
  DeviceState state_of(const std::string& device, int ifindex, const io::XskSocket& socket) const;
  void apply();
  bool pass_on(std::span<const std::byte> bytes);
  std::uint32_t front_bytes(io::XskSocket::Frame frame) const;

  Fabric& fabric_;
  LocalInbox inbox_;
  io::ChunkPool& umem_;
  std::uint32_t slot_;
  std::shared_ptr<FabricDevice> link_device_, uplink_device_;
  int tap_ifindex_ = 0;
  FabricDevice output_device_;
  std::unique_ptr<io::DeviceQueue> input_queue_;  // with guest offloads, where the tap's output is another device
  io::XdpPrograms::SlotDevices devices_;
  std::optional<io::Reception> reception_;  // of the VM's frames on the uplink
  std::unique_ptr<io::GroupSocket> group_;
  std::unique_ptr<io::XskSocket> tap_;    // after the devices, whose queues they use
  std::unique_ptr<io::XskSocket> input_;  // on input_queue_
  Sockets uplinks_, links_;
  NicView view_;
  std::size_t link_frame_bytes_max_ = 0;
  std::uint64_t frames_unsent_ = 0;
  std::vector<std::byte> whole_;  // of bytes(); kept for its memory
};

}  // namespace twinstep::daemon
