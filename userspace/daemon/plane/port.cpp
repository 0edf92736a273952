// SPDX-License-Identifier: Apache-2.0
#include "daemon/plane/port.hpp"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <cstring>
#include <stdexcept>

#include "daemon/plane/uplink_check.hpp"

namespace twinstep::daemon {
namespace {

constexpr std::size_t kEthernetBytes = 14;
constexpr std::size_t kCacheLineBytes = 64;
constexpr unsigned kTagsBytes = 8;

/// The mirrored copy of the uplink's largest frame, with two VLAN tags (802.1ad) beside the MTU, must fit the link,
/// which otherwise drops it without a word.
Result<void> check_mtu(const std::string& uplink, const std::string& link) {
  const auto uplink_mtu = io::device_mtu(uplink);
  if (!uplink_mtu) return tl::unexpected(uplink_mtu.error());
  const auto link_mtu = io::device_mtu(link);
  if (!link_mtu) return tl::unexpected(link_mtu.error());
  const unsigned needed = *uplink_mtu + kTagsBytes + TS_LINK_OVERHEAD_BYTES;
  if (*link_mtu < needed)
    return fail("the MTU of the link " + link + " is " + std::to_string(*link_mtu) + ", but frames of the uplink " +
                uplink + " need " + std::to_string(needed) + " there; run: ip link set " + link + " mtu " +
                std::to_string(needed));
  return {};
}

/// What the tap's socket may receive into, what may be held and replayed, and half a ring on its way out.
Result<void> check_memory(const PlaneConfig& config, const io::ChunkPool& chunks) {
  const std::size_t needed =
      io::Umem::kRingEntries + io::Umem::kRingEntries / 2 + config.limits.held_frames_max + config.replay_frames_max;
  if (chunks.chunks() >= needed) return {};
  return fail("umem_frames must be at least " + std::to_string(needed - chunks.chunks()) +
              " more for a held_frames_max of " + std::to_string(config.limits.held_frames_max));
}

}  // namespace

Result<std::unique_ptr<Port>> Port::open(const PlaneConfig& config, Fabric& fabric, const io::Tap& tap) {
  if (auto checked = check_memory(config, fabric.chunks(config.slot)); !checked) return tl::unexpected(checked.error());
  if (auto checked = check_mtu(config.uplink, fabric.link()); !checked) return tl::unexpected(checked.error());
  if (auto ready = prepare_uplink(config.uplink); !ready) return tl::unexpected(ready.error());

  std::unique_ptr<Port> self(new Port(fabric, config.slot));
  self->umem_.reclaim();
  self->view_.uplink = config.uplink;
  self->view_.link = fabric.link();
  self->view_.tap = tap.name();
  self->view_.output = tap.output();
  self->view_.guest_offloads = tap.offloads();
  std::ranges::copy(config.vm_mac, self->view_.slot.vm_mac);
  self->view_.slot.nic = config.nic;
  if (fabric.shares_uplink(config.slot)) self->view_.slot.flags = TS_SLOT_SHARED;
  if (tap.mtu() > io::Tap::kMtuBytesOnePage) self->view_.slot.flags |= TS_SLOT_FRAGMENTS;
  const auto ready = self->receive_for(config.vm_mac)
                         .and_then([&] { return self->open_devices(); })
                         .and_then([&] { return self->set_devices(); })
                         .and_then([&] { return self->admit_encapsulated(tap); })
                         .and_then([&] { return self->open_sockets(); })
                         .and_then([&] { return self->set_peer(config.vm_id, config.link_peer_mac); });
  if (!ready) return tl::unexpected(ready.error());
  if (config.busy_poll) self->begin_busy_poll();
  fabric.set_inbox(config.slot, &self->inbox_);
  return self;
}

Port::~Port() {
  fabric_.set_inbox(slot_, nullptr);
  programs().remove_target({view_.slot.vm_id, view_.slot.nic});
  programs().clear_slot(slot_, devices_);
}

Result<void> Port::receive_for(const io::MacAddress& vm_mac) {
  auto reception = io::Reception::open(view_.uplink, vm_mac);
  if (!reception) return tl::unexpected(reception.error());
  reception_ = std::move(*reception);
  return {};
}

Result<void> Port::open_devices() {
  auto link = fabric_.open_link();
  if (!link) return tl::unexpected(link.error());
  link_device_ = std::move(*link);
  auto uplink = fabric_.open_uplink(view_.uplink, *link_device_);
  if (!uplink) return tl::unexpected(uplink.error());
  uplink_device_ = std::move(*uplink);

  const auto tap = io::device_index(view_.tap);
  if (!tap) return tl::unexpected(tap.error());
  tap_ifindex_ = *tap;
  if (view_.output != view_.tap) {
    auto queue = open_queue(view_.tap, io::DeviceQueue::Use::send);
    if (!queue) return tl::unexpected(queue.error());
    input_queue_ = std::move(*queue);
  }
  const auto output = io::device_index(view_.output);
  if (!output) return tl::unexpected(output.error());
  output_device_.ifindex = *output;
  auto attachment =
      programs().attach(io::XdpRole::tap, view_.output, uplink_device_->attachment.mode == io::XdpMode::native);
  if (!attachment) return tl::unexpected(attachment.error());
  output_device_.attachment = std::move(*attachment);
  auto queue = open_queue(view_.output, io::DeviceQueue::Use::both);
  if (!queue) return tl::unexpected(queue.error());
  output_device_.queues.push_back(std::move(*queue));

  view_.link_mode = link_device_->attachment.mode;
  view_.uplink_mode = uplink_device_->attachment.mode;
  view_.tap_mode = output_device_.attachment.mode;
  view_.link_dispatched = link_device_->attachment.dispatched != nullptr;
  view_.uplink_dispatched = uplink_device_->attachment.dispatched != nullptr;
  view_.uplink_queues = uplink_device_->queues.size();
  view_.link_queues = link_device_->queues.size();
  return {};
}

Result<std::unique_ptr<io::DeviceQueue>> Port::open_queue(const std::string& device, io::DeviceQueue::Use use) {
  return io::DeviceQueue::open(fabric_.umem(), umem_, device, 0, {}, use);
}

Result<void> Port::set_devices() {
  const auto link_mac = io::device_mac(view_.link);
  if (!link_mac) return tl::unexpected(link_mac.error());
  std::ranges::copy(*link_mac, view_.slot.link_mac);
  const auto link_mtu = io::device_mtu(view_.link);
  if (!link_mtu) return tl::unexpected(link_mtu.error());
  link_frame_bytes_max_ =
      std::min<std::size_t>(*link_mtu + kEthernetBytes, io::Umem::kChunkBytes - io::Umem::kHeadroomBytes);
  view_.slot.uplink_ifindex = static_cast<std::uint32_t>(uplink_device_->ifindex);

  devices_ = {.tap_ifindex = tap_ifindex_,
              .output_ifindex = output_device_.ifindex,
              .uplink_ifindex = uplink_device_->ifindex,
              .link_ifindex = link_device_->ifindex,
              .uplink_zero_copy =
                  std::ranges::any_of(uplink_device_->queues, [](const auto& queue) { return queue->zero_copy(); }),
              .vm_mac = {}};
  if (devices_.uplink_zero_copy) view_.slot.flags |= TS_SLOT_ZERO_COPY;
  std::ranges::copy(view_.slot.vm_mac, devices_.vm_mac.begin());
  return programs().set_devices(slot_, devices_);
}

/// A zero-copy uplink's mirrored frames are encapsulated when they are looked at for the tap, and bare when they get
/// there.
Result<void> Port::admit_encapsulated(const io::Tap& tap) {
  if (!devices_.uplink_zero_copy) return {};
  return io::set_device_mtu(tap.name(), tap.mtu() + kTagsBytes + TS_LINK_OVERHEAD_BYTES);
}

Result<std::unique_ptr<io::XskSocket>> Port::open_socket(io::XdpRole role, io::DeviceQueue& queue) {
  const std::uint32_t prefix_bytes = role == io::XdpRole::tap ? sizeof(ts_frame_meta) : 0;
  auto opened = io::XskSocket::open(queue, umem_, prefix_bytes);
  if (!opened) return opened;
  if (auto set = programs().set_socket(role, slot_, queue.queue(), (*opened)->fd()); !set)
    return tl::unexpected(set.error());
  return opened;
}

Result<void> Port::open_sockets_on(io::XdpRole role, const FabricDevice& device, Sockets& sockets) {
  for (const auto& queue : device.queues) {
    auto opened = open_socket(role, *queue);
    if (!opened) return tl::unexpected(opened.error());
    sockets.push_back(std::move(*opened));
  }
  return {};
}

Result<void> Port::open_sockets() {
  auto group = io::GroupSocket::open(view_.uplink, devices_.vm_mac);
  if (!group) return tl::unexpected(group.error());
  group_ = std::move(*group);
  if (input_queue_) {
    auto opened = io::XskSocket::open(*input_queue_, umem_);
    if (!opened) return tl::unexpected(opened.error());
    input_ = std::move(*opened);
  }
  auto tap = open_socket(io::XdpRole::tap, *output_device_.queues.front());
  if (!tap) return tl::unexpected(tap.error());
  tap_ = std::move(*tap);
  return open_sockets_on(io::XdpRole::uplink, *uplink_device_, uplinks_).and_then([&] {
    return open_sockets_on(io::XdpRole::link, *link_device_, links_);
  });
}

/// All sockets or none: a thread that spins for some and sleeps for others does neither well.
void Port::begin_busy_poll() {
  for (const auto* sockets : {&uplinks_, &links_})
    for (const auto& socket : *sockets)
      if (auto done = socket->prefer_busy_poll(); !done)
        return spdlog::warn("{}: its packet plane waits for interrupts: {}", view_.tap, done.error().message);
  view_.busy_poll = true;
  for (FabricDevice* device : {uplink_device_.get(), link_device_.get()})
    if (auto done = fabric_.defer_interrupts(*device); !done)
      spdlog::warn("{}: it is polled busily, and interrupts go on: {}", device->name, done.error().message);
}

void Port::poll_devices() {
  for (const auto* sockets : {&uplinks_, &links_})
    for (const auto& socket : *sockets) socket->poll_device();
}

std::size_t Port::queues_polled() const {
  const auto known = [](const auto& socket) { return socket->knows_queue(); };
  if (!view_.busy_poll) return 0;
  return static_cast<std::size_t>(std::ranges::count_if(uplinks_, known) + std::ranges::count_if(links_, known));
}

Result<void> Port::check_queues() const {
  for (const FabricDevice* device : {uplink_device_.get(), link_device_.get()}) {
    const auto queues = io::device_rx_queues(device->name);
    if (!queues) return tl::unexpected(queues.error());
    if (*queues > device->queues.size())
      return fail(device->name + " spreads frames over " + std::to_string(*queues) + " queues, of which " +
                  std::to_string(device->queues.size()) + " are read; restart twinstepd");
  }
  return {};
}

Result<void> Port::set_peer(std::uint16_t vm_id, const io::MacAddress& link_peer_mac) {
  programs().remove_target({view_.slot.vm_id, view_.slot.nic});
  view_.slot.vm_id = vm_id;
  std::ranges::copy(link_peer_mac, view_.slot.link_peer_mac);
  apply();
  return programs().add_target({vm_id, view_.slot.nic}, slot_);
}

void Port::apply() {
  // Writing an array map's element can't fail for want of anything; if it does, the gate is in nobody's hands.
  if (auto done = programs().set_slot(slot_, view_.slot); !done) throw std::runtime_error(done.error().message);
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
  view_.slot.flags &= static_cast<std::uint16_t>(~TS_SLOT_COMMITTED);
  apply();
}

void Port::set_committed() {
  view_.slot.flags |= TS_SLOT_COMMITTED;
  apply();
}

void Port::set_deaf(bool deaf) {
  const auto others = static_cast<std::uint16_t>(view_.slot.flags & ~TS_SLOT_DEAF);
  view_.slot.flags = static_cast<std::uint16_t>(others | (deaf ? TS_SLOT_DEAF : 0));
  apply();
}

void Port::set_translates(bool translates) {
  view_.slot.translates = translates ? 1 : 0;
  apply();
}

void Port::set_probe(std::uint64_t nonce) {
  view_.slot.probe = nonce;
  apply();
}

Result<void> Port::arrive(io::XdpRole role, std::span<const std::byte> frame) {
  const FabricDevice& device = role == io::XdpRole::uplink ? *uplink_device_ : *link_device_;
  return programs().arrive(role, device.attachment.mode, device.ifindex, frame);
}

ts_frame_meta Port::meta(io::XskSocket::Frame frame) {
  ts_frame_meta meta{};
  std::memcpy(&meta, umem_.bytes(frame.address - sizeof(meta), sizeof(meta)).data(), sizeof(meta));
  return meta;
}

std::uint32_t Port::front_bytes(io::XskSocket::Frame frame) const {
  io::Umem& umem = fabric_.umem();
  return umem.fragments() && umem.part(frame.address).next != 0 ? umem.part(frame.address).bytes : frame.length;
}

std::span<const std::byte> Port::bytes(io::XskSocket::Frame frame) {
  const std::uint32_t front = front_bytes(frame);
  if (front == frame.length) return umem_.bytes(frame.address, front);
  whole_.clear();
  for (std::uint64_t at = frame.address; at != 0; at = fabric_.umem().part(at).next) {
    const auto part = umem_.bytes(at, fabric_.umem().part(at).bytes);
    whole_.insert(whole_.end(), part.begin(), part.end());
  }
  return whole_;
}

TcpEdit Port::edit(io::XskSocket::Frame frame) {
  return TcpEdit(umem_.bytes(frame.address, front_bytes(frame)), frame.length);
}

void Port::prefetch(io::XskSocket::Frame frame) const {
  const auto front = umem_.bytes(frame.address - sizeof(ts_frame_meta), sizeof(ts_frame_meta) + front_bytes(frame));
  __builtin_prefetch(front.data());
  __builtin_prefetch(front.data() + kCacheLineBytes);
}

void Port::send(io::XskSocket& socket, io::XskSocket::Frame frame) {
  if (socket.send(frame)) return;
  umem_.give(frame.address);
  ++frames_unsent_;
}

void Port::send_copy(io::XskSocket& socket, std::span<const std::byte> bytes) {
  if (!socket.send_copy(bytes)) ++frames_unsent_;
}

bool Port::pass_on(std::span<const std::byte> bytes) {
  return (view_.slot.flags & TS_SLOT_SHARED) != 0 && fabric_.pass_on(slot_, bytes);
}

void Port::emit(io::XskSocket::Frame frame) {
  if (pass_on(bytes(frame))) return umem_.give(frame.address);
  send(uplink(), frame);
}

void Port::emit_copy(std::span<const std::byte> bytes) {
  if (!pass_on(bytes)) send_copy(uplink(), bytes);
}

io::XskSocket::Losses Port::losses(const Sockets& sockets) {
  io::XskSocket::Losses sum;
  for (const auto& socket : sockets) {
    const auto losses = socket->losses();
    sum.ring_full += losses.ring_full;
    sum.no_chunk += losses.no_chunk;
    sum.other += losses.other;
  }
  return sum;
}

DeviceState Port::state_of(const std::string& device, int ifindex, const io::XskSocket& socket) const {
  return {.mtu_bytes = io::device_mtu(device).value_or(0),
          .zero_copy = socket.zero_copy(),
          .other_programs = fabric_.programs().other_programs(ifindex)};
}

NicView Port::view_now() const {
  NicView view = view_;
  view.uplink_state = state_of(view.uplink, devices_.uplink_ifindex, *uplinks_.front());
  view.link_state = state_of(view.link, devices_.link_ifindex, *links_.front());
  view.output_state = state_of(view.output, devices_.output_ifindex, *tap_);
  return view;
}

ts_counters Port::counters() const {
  return fabric_.programs().counters(slot_);
}

ts_flow_key Port::key_of(const compare::FlowKey& flow) const {
  ts_flow_key key = flow;
  key.slot = static_cast<std::uint16_t>(slot_);
  return key;
}

}  // namespace twinstep::daemon
