// SPDX-License-Identifier: Apache-2.0
#include "daemon/vm/guest.hpp"

#include <spdlog/spdlog.h>

#include <chrono>
#include <filesystem>
#include <utility>

#include "memory/page_checksums.hpp"
#include "qemu-glue/dirty/tracking.hpp"
#include "qemu-glue/launch/probe.hpp"
#include "qemu-glue/state/run_state.hpp"

namespace twinstep::daemon {
namespace {

using namespace std::chrono_literals;

constexpr auto kLaunchTimeout = 20s;
constexpr auto kQmpTimeout = 2s;
constexpr auto kLoadTimeout = 10s;

/// Interface names have 15 characters at most and a tap's devices two more, so numbers stand for names.
std::string tap_name(std::uint16_t vm_id, std::size_t nic) {
  return "tstap" + std::to_string(vm_id) + "n" + std::to_string(nic);
}

/// The guest's packets may be as large as the uplink's.
Result<unsigned> guest_mtu(const NicConfig& nic, const Fabric& fabric) {
  const auto mtu_bytes = io::device_mtu(nic.uplink);
  const unsigned max = fabric.fragments() ? io::Tap::kMtuBytesMax : io::Tap::kMtuBytesOnePage;
  if (!mtu_bytes || *mtu_bytes <= max) return mtu_bytes;
  const auto most = std::to_string(max);
  const std::string remedy = "run: ip link set " + nic.uplink + " mtu " + most;
  return fail("the MTU of the uplink " + nic.uplink + " is " + std::to_string(*mtu_bytes) + " and Twinstep carries " +
              most + " at most" +
              (fabric.fragments() ? "; " + remedy
                                  : ": a larger frame takes several AF_XDP buffers (XDP_USE_SG, Linux 6.6), and an "
                                    "uplink that has them when twinstepd starts; restart it, or " +
                                        remedy));
}

/// With guest offloads if they are wanted and this kernel can finish what a guest leaves undone.
Result<io::Tap> make_tap(const VmConfig& vm, std::size_t number, const std::string& name, const Fabric& fabric) {
  const NicConfig& nic = vm.nics[number];
  const auto mtu_bytes = guest_mtu(nic, fabric);
  if (!mtu_bytes) return tl::make_unexpected(mtu_bytes.error());
  if (nic.guest_offloads == io::GuestOffloads::on) {
    auto tap = io::Tap::create(name, *mtu_bytes, io::GuestOffloads::on);
    if (tap) return tap;
    spdlog::warn("VM {}: its NIC {} offers no checksum and segmentation offloads: {}", vm.name, number,
                 tap.error().message);
  }
  return io::Tap::create(name, *mtu_bytes, io::GuestOffloads::off);
}

/// One for each NIC; the planes go on using them where they are.
Result<std::vector<std::unique_ptr<io::Tap>>> make_taps(const VmConfig& vm, std::uint16_t vm_id, const Fabric& fabric) {
  std::vector<std::unique_ptr<io::Tap>> taps;
  for (std::size_t i = 0; i < vm.nics.size(); ++i) {
    auto tap = make_tap(vm, i, tap_name(vm_id, i), fabric);
    if (!tap) return tl::make_unexpected(tap.error());
    taps.push_back(std::make_unique<io::Tap>(std::move(*tap)));
  }
  return taps;
}

void set_limits(const VmLimits& limits, PlaneConfig& plane) {
  plane.limits.held_frames_max = limits.held_frames_max;
  plane.limits.flows_max = plane.tracker_limits.flows_max = limits.flows_max;
  plane.limits.half_open_flows_max = plane.tracker_limits.half_open_flows_max = limits.half_open_flows_max;
  plane.limits.lent_flows_max = limits.kernel_flows_max;
  plane.tracker_limits.segments_max = limits.segments_max;
  plane.replay_frames_max = limits.replay_frames_max;
  plane.inbound_frames_max = limits.inbound_frames_max;
}

std::vector<Planes::Nic> plane_nics(const VmConfig& vm, std::uint16_t vm_id, std::uint32_t slot,
                                    const std::vector<std::unique_ptr<io::Tap>>& taps) {
  std::vector<Planes::Nic> nics;
  for (std::size_t i = 0; i < taps.size(); ++i) {
    PlaneConfig config;
    config.slot = slot + static_cast<std::uint32_t>(i);
    config.uplink = vm.nics[i].uplink;
    config.vm_mac = vm.nics[i].mac;
    config.vm_id = vm_id;
    config.nic = static_cast<std::uint16_t>(i);
    config.busy_poll = vm.nics[i].busy_poll;
    set_limits(vm.limits, config);
    nics.push_back({config, *taps[i]});
  }
  return nics;
}

/// What QEMU is started with. Makes the VM's run directory.
Result<qemu::VmSpec> vm_spec(const Config& host, const VmConfig& vm, const std::vector<std::unique_ptr<io::Tap>>& taps,
                             bool paused) {
  qemu::VmSpec spec;
  spec.name = vm.name;
  spec.binary = vm.qemu;
  spec.args = vm.qemu_args;
  spec.memory_bytes = vm.memory_bytes;
  spec.memory_nodes = vm.memory_nodes;
  spec.huge_pages = vm.huge_pages;
  for (std::size_t i = 0; i < taps.size(); ++i)
    spec.nics.push_back({.tap_fd = taps[i]->fd(),
                         .mac = io::to_string(vm.nics[i].mac),
                         .device = vm.nics[i].model,
                         .mtu_bytes = taps[i]->mtu(),
                         .vhost = vm.nics[i].vhost_net});
  spec.run_dir = host.host.run_dir / vm.name;
  spec.paused = paused;
  std::error_code failed;
  std::filesystem::create_directories(spec.run_dir, failed);
  if (failed) return fail("can't make " + spec.run_dir.string() + ": " + failed.message());
  return spec;
}

}  // namespace

Guest::Guest(std::vector<std::unique_ptr<io::Tap>> taps, std::unique_ptr<Planes> planes, qemu::QemuProcess qemu,
             std::uint64_t memory_bytes)
    : taps_(std::move(taps)), planes_(std::move(planes)), qemu_(std::move(qemu)), memory_bytes_(memory_bytes) {}

Result<std::unique_ptr<Guest>> Guest::start(const Config& host, const VmConfig& vm, std::uint16_t vm_id,
                                            FabricPlace place, bool paused, const OnNicDiverged& on_diverged) {
  auto taps = make_taps(vm, vm_id, place.fabric);
  if (!taps) return tl::make_unexpected(taps.error());
  auto planes = Planes::create(plane_nics(vm, vm_id, place.slot, *taps), place.fabric, on_diverged);
  if (!planes) return tl::make_unexpected(planes.error());

  const auto spec = vm_spec(host, vm, *taps, paused);
  if (!spec) return tl::make_unexpected(spec.error());
  auto qemu = qemu::launch(*spec, kLaunchTimeout);
  if (!qemu) return tl::make_unexpected(qemu.error());

  std::unique_ptr<Guest> guest(new Guest(std::move(*taps), std::move(*planes), std::move(*qemu), vm.memory_bytes));
  if (const auto ready = guest->open_machine(); !ready) return tl::make_unexpected(ready.error());
  const auto link_mac = io::device_mac(host.link.device);
  if (!link_mac) return tl::make_unexpected(link_mac.error());
  guest->link_mac_ = *link_mac;
  return guest;
}

Result<void> Guest::open_machine() {
  const auto features = qemu::probe(qemu_.qmp());
  if (!features) return tl::make_unexpected(features.error());
  machine_type_ = features->machine_type;
  return {};
}

Result<void> Guest::prove_host() {
  if (const auto stopped = stop(); !stopped) return stopped;
  const auto proven = planes_->prove_host();
  const auto resumed = resume();
  return proven ? resumed : proven;
}

Result<void> Guest::stop() {
  return qemu::stop(qemu_.qmp(), kQmpTimeout);
}

Result<void> Guest::stop_as_standby() {
  planes_->shut_input();
  if (const auto stopped = stop(); !stopped) return stopped;
  if (!std::exchange(reader_occupied_, true)) planes_->occupy_reader();
  return {};
}

Result<void> Guest::resume() {
  reader_occupied_ = false;
  return qemu::cont(qemu_.qmp(), kQmpTimeout);
}

Result<std::span<const std::byte>> Guest::save() {
  return saver_->save(qemu_.qmp(), kQmpTimeout);
}

Result<void> Guest::load(std::span<const std::byte> state) {
  return loader_->load(qemu_.qmp(), state, kLoadTimeout);
}

Result<void> Guest::watch_memory() {
  if (dirty_) return {};
  auto ram = qemu::GuestRam::open(qemu_.pid(), memory_bytes_);
  if (!ram) return tl::make_unexpected(ram.error());
  const auto tracking = qemu::probe_dirty_tracking();
  if (!tracking) return tl::make_unexpected(tracking.error());
  const auto direct_io = qemu::uses_direct_io(qemu_.qmp(), kQmpTimeout);
  if (!direct_io) return tl::make_unexpected(direct_io.error());
  auto dirty = qemu::watch_ram(*tracking, qemu_.pid(), ram->in_qemu(), *direct_io);
  if (!dirty) return tl::make_unexpected(dirty.error());
  ram_.emplace(std::move(*ram));
  tracking_ = *tracking;
  dirty_ = std::move(*dirty);
  return {};
}

Result<std::vector<std::uint64_t>> Guest::page_checksums() const {
  const auto present = ram_->present();
  if (!present) return tl::make_unexpected(present.error());
  return memory::page_checksums(ram_->bytes(), *present);
}

Result<void> Guest::become_primary(std::size_t epoch_bytes_max, memory::PageHashKey key) {
  if (const auto watched = watch_memory(); !watched) return watched;
  if (!saver_) {
    auto saver = qemu::StateSaver::create(qemu_.qmp(), kQmpTimeout);
    if (!saver) return tl::make_unexpected(saver.error());
    saver_.emplace(std::move(*saver));
  }
  secondary_.reset();
  primary_.reset();
  auto memory = memory::PrimaryMemory::create(std::as_const(*ram_).bytes(), *dirty_, epoch_bytes_max, key);
  if (!memory) return tl::make_unexpected(memory.error());
  primary_.emplace(std::move(*memory));
  if (const auto started = primary_->start(); !started) return started;
  const auto present = ram_->present();
  if (!present) return tl::make_unexpected(present.error());
  primary_->set_present(*present);
  return {};
}

Result<void> Guest::become_secondary(std::size_t epoch_bytes_max, memory::PageHashKey key) {
  if (const auto watched = watch_memory(); !watched) return watched;
  auto loader = qemu::StateLoader::create(qemu_.qmp(), machine_type_, kQmpTimeout);
  if (!loader) return tl::make_unexpected(loader.error());
  loader_.emplace(std::move(*loader));
  auto memory = memory::SecondaryMemory::create(
      ram_->bytes(), *dirty_, [this] { return ram_->present(); }, epoch_bytes_max, key);
  if (!memory) return tl::make_unexpected(memory.error());
  secondary_.emplace(std::move(*memory));
  return secondary_->start();
}

}  // namespace twinstep::daemon
