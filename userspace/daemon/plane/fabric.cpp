// SPDX-License-Identifier: Apache-2.0
#include "daemon/plane/fabric.hpp"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <utility>

#include "daemon/plane/uplink_check.hpp"
#include "io/tap/tap.hpp"

namespace twinstep::daemon {
namespace {

constexpr std::uint32_t kRing = io::Umem::kRingEntries;
/// Frames that a socket on one of several queues may have waiting: with two queues a device takes the memory of one.
constexpr std::uint32_t kSharedRing = kRing / 2;
/// What a NIC's sockets on link and uplink receive into lies in these devices' pools.
constexpr std::uint32_t kInDevicePools = 2 * kRing;

/// One that isn't there yet has one queue.
std::uint32_t queues_to_reserve(const std::string& device) {
  return std::min<std::uint32_t>(io::device_rx_queues_with_xdp(device).value_or(1), TS_QUEUES_MAX);
}

bool has_large_frames(const FabricNic& nic) {
  return io::device_mtu(nic.uplink).value_or(0) > io::Tap::kMtuBytesOnePage;
}

/// The link carries the pages, too, by the host's stack, and a queue that copies nothing for AF_XDP copies every packet
/// for the stack. Zero-copy is for drivers with native XDP, and
/// for a program of its own, which may encapsulate.
io::DeviceQueue::Copies copies(io::XdpRole role, const io::XdpAttachment& attachment) {
  const bool may_be_zero_copy =
      role == io::XdpRole::uplink && attachment.mode == io::XdpMode::native && !attachment.dispatched;
  return may_be_zero_copy ? io::DeviceQueue::Copies::probed : io::DeviceQueue::Copies::always;
}

std::string set_queues(const std::string& device, std::uint32_t queues) {
  return "ethtool -L " + device + " combined " + std::to_string(queues) + " (or rx " + std::to_string(queues) + ")";
}

}  // namespace

Result<std::unique_ptr<Fabric>> Fabric::create(const std::string& link, const std::vector<FabricNic>& nics) {
  if (nics.size() > TS_SLOTS_MAX)
    return fail("the VMs have more than " + std::to_string(TS_SLOTS_MAX) + " NICs in all");
  if (std::ranges::any_of(nics, has_large_frames)) {
    auto fabric = create(link, nics, true);
    if (fabric) return fabric;
    spdlog::warn("VMs get no frames beyond {} bytes: {}", io::Tap::kMtuBytesOnePage, fabric.error().message);
  }
  return create(link, nics, false);
}

Result<std::unique_ptr<Fabric>> Fabric::create(const std::string& link, const std::vector<FabricNic>& nics,
                                               bool fragments) {
  auto programs = io::XdpPrograms::load(fragments);
  if (!programs) return tl::unexpected(programs.error());
  std::unique_ptr<Fabric> self(new Fabric(std::move(*programs), link, nics));
  if (auto reserved = self->reserve_memory(fragments); !reserved) return tl::unexpected(reserved.error());
  self->remove_leftovers();
  return self;
}

/// A pool for each slot, then one for each queue of each device: a ring's worth for each NIC that uses it, so that a
/// NIC whose thread lags behind leaves the others theirs, and one more on offer.
Result<void> Fabric::reserve_memory(bool fragments) {
  std::map<std::string, std::uint32_t> users{{link_, static_cast<std::uint32_t>(nics_.size())}};
  std::vector<std::uint32_t> pools;
  for (const auto& nic : nics_) {
    if (nic.umem_frames <= kInDevicePools)
      return fail("umem_frames is " + std::to_string(nic.umem_frames) + "; it must be more than " +
                  std::to_string(kInDevicePools));
    ++users[nic.uplink];
    pools.push_back(nic.umem_frames - kInDevicePools);
  }
  for (const auto& [device, count] : users) {
    const std::uint32_t queues = queues_to_reserve(device);
    const std::uint32_t ring = queues > 1 ? kSharedRing : kRing;
    const std::uint32_t chunks = (count + 1) * ring;
    places_[device] = Place{.first_pool = pools.size(),
                            .queues = queues,
                            .rings = {.fill_entries = std::bit_ceil(chunks), .receive_entries = ring},
                            .users = 0,
                            .device = {}};
    pools.insert(pools.end(), queues, chunks);
  }
  auto umem = io::Umem::create(pools, fragments);
  if (!umem) return tl::unexpected(umem.error());
  umem_ = std::move(*umem);
  return {};
}

/// The memory is this process's, so that no other twinstepd lives in the network namespace.
void Fabric::remove_leftovers() const {
  for (const auto& [device, place] : places_)
    if (auto done = io::XdpPrograms::remove_leftovers(device); !done) spdlog::warn("{}", done.error().message);
}

/// A program that runs natively hands frames to devices natively too, and a device without native XDP takes none so.
/// Uplinks feed the link.
Result<std::shared_ptr<FabricDevice>> Fabric::open_uplink(const std::string& uplink, const FabricDevice& link) {
  const auto native = runs_natively(uplink);
  if (!native) return tl::unexpected(native.error());
  return open(io::XdpRole::uplink, uplink, *native && link.attachment.mode == io::XdpMode::native);
}

Result<std::shared_ptr<FabricDevice>> Fabric::open(io::XdpRole role, const std::string& name, bool native) {
  const std::lock_guard lock(mutex_);
  Place& place = places_.at(name);
  if (!place.device) {
    auto device = make(role, name, native, place);
    if (!device) return tl::unexpected(device.error());
    place.device = std::move(*device);
  }
  ++place.users;
  return std::shared_ptr<FabricDevice>(place.device.get(), [this, &place](FabricDevice*) { close(place); });
}

void Fabric::close(Place& place) {
  const std::lock_guard lock(mutex_);
  if (--place.users == 0) place.device.reset();
}

Result<std::vector<std::unique_ptr<io::DeviceQueue>>> Fabric::open_queues(const std::string& name, const Place& place,
                                                                          io::DeviceQueue::Copies copies) {
  const auto count = io::device_rx_queues(name);
  if (!count) return tl::unexpected(count.error());
  const std::string spreads = name + " spreads frames over " + std::to_string(*count) + " queues and ";
  if (*count > TS_QUEUES_MAX)
    return fail(spreads + "Twinstep reads " + std::to_string(TS_QUEUES_MAX) +
                " at most; run: " + set_queues(name, TS_QUEUES_MAX));
  if (*count > place.queues)
    return fail(spreads + "had " + std::to_string(place.queues) +
                " when twinstepd started; restart it, or run: " + set_queues(name, place.queues));
  std::vector<std::unique_ptr<io::DeviceQueue>> queues;
  for (std::uint32_t number = 0; number < *count; ++number) {
    auto& pool = umem_->pool(place.first_pool + number);
    pool.reclaim();
    auto queue = io::DeviceQueue::open(*umem_, pool, name, number, place.rings, io::DeviceQueue::Use::both, copies);
    if (!queue) return tl::unexpected(queue.error());
    queues.push_back(std::move(*queue));
  }
  return queues;
}

Result<std::unique_ptr<FabricDevice>> Fabric::make(io::XdpRole role, const std::string& name, bool native,
                                                   const Place& place) {
  auto device = std::make_unique<FabricDevice>();
  device->name = name;
  const auto ifindex = io::device_index(name);
  if (!ifindex) return tl::unexpected(ifindex.error());
  device->ifindex = *ifindex;
  auto attachment = programs_.attach(role, name, native);
  if (!attachment) return tl::unexpected(attachment.error());
  device->attachment = std::move(*attachment);
  auto queues = open_queues(name, place, copies(role, device->attachment));
  if (!queues) return tl::unexpected(queues.error());
  device->queues = std::move(*queues);
  return device;
}

Result<void> Fabric::defer_interrupts(FabricDevice& device) {
  const std::lock_guard lock(mutex_);
  if (device.deferral) return {};
  return io::InterruptDeferral::begin(device.name).map([&](io::InterruptDeferral&& begun) {
    device.deferral.emplace(std::move(begun));
  });
}

bool Fabric::shares_uplink(std::uint32_t slot) const {
  return std::ranges::count(nics_, nics_.at(slot).uplink, &FabricNic::uplink) > 1;
}

void Fabric::set_inbox(std::uint32_t slot, LocalInbox* inbox) {
  const std::unique_lock lock(inbox_mutex_);
  inboxes_.at(slot) = inbox;
}

bool Fabric::pass_on(std::uint32_t slot, std::span<const std::byte> frame) {
  if (frame.size() < sizeof(io::MacAddress)) return false;
  const bool group = (frame[0] & std::byte{1}) != std::byte{0};
  bool delivered = false;
  for (std::uint32_t other = 0; other < nics_.size(); ++other) {
    const FabricNic& nic = nics_[other];
    if (other == slot || nic.uplink != nics_[slot].uplink) continue;
    if (!group && std::memcmp(frame.data(), nic.mac.data(), nic.mac.size()) != 0) continue;
    const std::shared_lock lock(inbox_mutex_);
    LocalInbox* inbox = inboxes_[other];
    if (inbox == nullptr || !inbox->is_open()) continue;
    inbox->put(frame);
    delivered = !group;
  }
  return delivered;
}

}  // namespace twinstep::daemon
