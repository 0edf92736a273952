// SPDX-License-Identifier: Apache-2.0
#include "daemon/plane/port.hpp"

#include <algorithm>
#include <cstring>
#include <stdexcept>

namespace twinstep::daemon {
namespace {

/// Each plane loads its own programs, so its VM is their only one.
constexpr std::uint32_t kSlot = 0;
constexpr std::size_t kEthernetBytes = 14;

tl::unexpected<Error> too_many_queues(const std::string& device, unsigned queues) {
  return fail(device + " spreads frames over " + std::to_string(queues) +
              " queues and Twinstep reads one; run: ethtool -L " + device + " combined 1");
}

/// The mirrored copy of the uplink's largest frame must fit the link, which otherwise drops it without a word. One
/// queue, because an AF_XDP socket serves one.
Result<void> check_devices(const PlaneConfig& config) {
  for (const auto& device : {config.uplink, config.link}) {
    const auto queues = io::device_rx_queues(device);
    if (!queues) return tl::unexpected(queues.error());
    if (*queues > 1) return too_many_queues(device, *queues);
  }
  const auto uplink_mtu = io::device_mtu(config.uplink);
  if (!uplink_mtu) return tl::unexpected(uplink_mtu.error());
  const auto link_mtu = io::device_mtu(config.link);
  if (!link_mtu) return tl::unexpected(link_mtu.error());
  const unsigned needed = *uplink_mtu + TS_LINK_OVERHEAD_BYTES;
  if (*link_mtu < needed)
    return fail("the MTU of the link " + config.link + " is " + std::to_string(*link_mtu) +
                ", but frames of the uplink " + config.uplink + " need " + std::to_string(needed) +
                " there; run: ip link set " + config.link + " mtu " + std::to_string(needed));
  return {};
}

/// What three sockets may receive into, what may be held and replayed, and half a ring on its way out.
Result<void> check_memory(const PlaneConfig& config) {
  const std::size_t needed = 3 * io::Umem::kRingEntries + io::Umem::kRingEntries / 2 + config.limits.held_frames_max +
                             config.replay_frames_max;
  if (config.umem_frames >= needed) return {};
  return fail("umem_frames is " + std::to_string(config.umem_frames) + "; with these limits it must be at least " +
              std::to_string(needed));
}

}  // namespace

Result<std::unique_ptr<Port>> Port::open(const PlaneConfig& config, const io::Tap& tap) {
  if (auto checked = check_memory(config); !checked) return tl::unexpected(checked.error());
  if (auto checked = check_devices(config); !checked) return tl::unexpected(checked.error());
  auto programs = io::XdpPrograms::load();
  if (!programs) return tl::unexpected(programs.error());
  auto umem = io::Umem::create(config.umem_frames);
  if (!umem) return tl::unexpected(umem.error());

  std::unique_ptr<Port> self(new Port(std::move(*programs), std::move(*umem)));
  self->view_.uplink = config.uplink;
  self->view_.link = config.link;
  self->view_.tap = tap.name();
  self->view_.output = tap.output();
  self->view_.guest_offloads = tap.offloads();
  std::ranges::copy(config.vm_mac, self->view_.slot.vm_mac);
  const auto ready = self->receive_for(config.vm_mac)
                         .and_then([&] { return self->attach(); })
                         .and_then([&] { return self->open_sockets(); })
                         .and_then([&] { return self->set_peer(config.vm_id, config.link_peer_mac); });
  if (!ready) return tl::unexpected(ready.error());
  return self;
}

Result<void> Port::receive_for(const io::MacAddress& vm_mac) {
  auto reception = io::Reception::open(view_.uplink, vm_mac);
  if (!reception) return tl::unexpected(reception.error());
  reception_ = std::move(*reception);
  return {};
}

Result<void> Port::attach() {
  const auto tap = io::device_index(view_.tap);
  if (!tap) return tl::unexpected(tap.error());
  const auto output = io::device_index(view_.output);
  if (!output) return tl::unexpected(output.error());
  const auto uplink = io::device_index(view_.uplink);
  if (!uplink) return tl::unexpected(uplink.error());
  const auto link = io::device_index(view_.link);
  if (!link) return tl::unexpected(link.error());
  const auto link_mac = io::device_mac(view_.link);
  if (!link_mac) return tl::unexpected(link_mac.error());
  const auto link_mtu = io::device_mtu(view_.link);
  if (!link_mtu) return tl::unexpected(link_mtu.error());
  link_frame_bytes_max_ =
      std::min<std::size_t>(*link_mtu + kEthernetBytes, io::Umem::kChunkBytes - io::Umem::kHeadroomBytes);
  std::ranges::copy(*link_mac, view_.slot.link_mac);

  io::XdpPrograms::SlotDevices devices{
      .tap_ifindex = *tap, .output_ifindex = *output, .uplink_ifindex = *uplink, .link_ifindex = *link, .vm_mac = {}};
  std::ranges::copy(view_.slot.vm_mac, devices.vm_mac.begin());
  if (auto done = programs_.set_devices(kSlot, devices); !done) return done;
  const auto attach_one = [&](io::XdpRole role, int ifindex, io::XdpMode& mode) -> Result<void> {
    const auto attached = programs_.attach(role, ifindex);
    if (!attached) return tl::unexpected(attached.error());
    mode = *attached;
    return {};
  };
  return attach_one(io::XdpRole::tap, *output, view_.tap_mode)
      .and_then([&] { return attach_one(io::XdpRole::link, *link, view_.link_mode); })
      .and_then([&] { return attach_one(io::XdpRole::uplink, *uplink, view_.uplink_mode); });
}

Result<void> Port::open_sockets() {
  const auto open_one = [this](io::XdpRole role, const std::string& device,
                               std::unique_ptr<io::XskSocket>& socket) -> Result<void> {
    auto opened = io::XskSocket::open(*umem_, device);
    if (!opened) return tl::unexpected(opened.error());
    socket = std::move(*opened);
    return programs_.set_socket(role, kSlot, socket->fd());
  };
  if (view_.output != view_.tap) {
    auto opened = io::XskSocket::open(*umem_, view_.tap, io::XskSocket::Use::send);
    if (!opened) return tl::unexpected(opened.error());
    input_ = std::move(*opened);
  }
  return open_one(io::XdpRole::tap, view_.output, tap_)
      .and_then([&] { return open_one(io::XdpRole::uplink, view_.uplink, uplink_); })
      .and_then([&] { return open_one(io::XdpRole::link, view_.link, link_); });
}

Result<void> Port::set_peer(std::uint16_t vm_id, const io::MacAddress& link_peer_mac) {
  programs_.remove_vm(view_.slot.vm_id);
  view_.slot.vm_id = vm_id;
  std::ranges::copy(link_peer_mac, view_.slot.link_peer_mac);
  apply();
  return programs_.add_vm(vm_id, kSlot);
}

void Port::apply() {
  // Writing an array map's element can't fail for want of anything; if it does, the gate is in nobody's hands.
  if (auto done = programs_.set_slot(kSlot, view_.slot); !done) throw std::runtime_error(done.error().message);
}

void Port::set_modes(ts_tap_mode tap, ts_uplink_mode uplink, bool link_open) {
  view_.slot.tap_mode = tap;
  view_.slot.uplink_mode = uplink;
  view_.slot.link_open = link_open ? 1 : 0;
  apply();
}

void Port::set_uplink_mode(ts_uplink_mode mode) {
  view_.slot.uplink_mode = mode;
  apply();
}

void Port::set_epoch(std::uint32_t epoch) {
  view_.slot.epoch = epoch;
  apply();
}

void Port::set_translates(bool translates) {
  view_.slot.translates = translates ? 1 : 0;
  apply();
}

ts_frame_meta Port::meta(io::XskSocket::Frame frame) {
  ts_frame_meta meta{};
  std::memcpy(&meta, umem_->bytes(frame.address - sizeof(meta), sizeof(meta)).data(), sizeof(meta));
  return meta;
}

void Port::send(io::XskSocket& socket, io::XskSocket::Frame frame) {
  if (socket.send(frame)) return;
  umem_->give(frame.address);
  ++frames_unsent_;
}

void Port::send_copy(io::XskSocket& socket, std::span<const std::byte> bytes) {
  if (!socket.send_copy(bytes)) ++frames_unsent_;
}

ts_counters Port::counters() const {
  return programs_.counters(kSlot);
}

ts_flow_key Port::key_of(const compare::FlowKey& flow) {
  ts_flow_key key = flow;
  key.slot = kSlot;
  return key;
}

}  // namespace twinstep::daemon
