// SPDX-License-Identifier: Apache-2.0
#include "daemon/plane/plane.hpp"

#include <poll.h>
#include <spdlog/spdlog.h>
#include <cstring>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <optional>
#include <stdexcept>
#include <thread>
#include <utility>

#include "daemon/plane/announcer.hpp"
#include "daemon/plane/command_queue.hpp"
#include "daemon/plane/link_sender.hpp"
#include "daemon/plane/port.hpp"
#include "daemon/plane/primary_side.hpp"
#include "daemon/plane/prover.hpp"
#include "daemon/plane/secondary_side.hpp"
#include "daemon/plane/tcp_edit.hpp"
#include "daemon/plane/translator.hpp"
#include "io/monotonic.hpp"

namespace twinstep::daemon {
namespace {

enum class Role : std::uint8_t { closed, solo, primary, secondary };

constexpr std::size_t kBatch = 64;
/// Frames of a batch that are brought into the cache ahead of the one at hand: the kernel wrote them on another
/// processor.
constexpr std::size_t kAhead = 4;
/// Rounds of a drain: a guest that stands still can't have filled more than the rings.
constexpr int kDrainRoundsMax = 4 * static_cast<int>(io::Umem::kRingEntries / kBatch);
/// The kernel's work on what the guest sent last; a softirq may be put off by a tick or two.
constexpr Nanos kMarkTimeout = 1000 * kMillisecond;
/// A queue that is full drops the mark, so it is sent again.
constexpr Nanos kMarkRetry = 10 * kMillisecond;
constexpr int kMarkPollMs = 1;
constexpr const char* kMarkMissing =
    "the kernel didn't hand over within 1 s what the guest had sent before it stopped; is the host overloaded?";
/// QEMU takes the decoy at once, unless it has taken a frame that slipped in before it.
constexpr Nanos kDecoyTimeout = 20 * kMillisecond;
constexpr auto kDecoyPoll = std::chrono::microseconds(50);
constexpr Nanos kIdleWakeup = 500 * kMillisecond;
constexpr std::size_t kUnreadDiscarded = 65536;

/// What only the two hosts know of a NIC.
std::uint64_t probe_nonce(const compare::DigestKey& key, std::uint16_t nic) {
  compare::FlowKey name{};
  name.vm_port_be = nic;
  return key.flow_id(name) | 1;
}

}  // namespace

/// Everything here is the plane's thread's, but for the constructor, the destructor and the command queue.
struct Plane::Impl {
  Impl(const PlaneConfig& config, const io::Tap& tap_device, std::unique_ptr<Port> opened, OnDiverged on_diverged)
      : tap(tap_device),
        port(std::move(opened)),
        primary(*port, sender, translator, config, std::move(on_diverged)),
        secondary(*port, sender, translator, config),
        sources(all_sources()),
        thread([this] { run(); }) {}

  ~Impl() {
    stopping = true;
    commands.post([] {});
    thread.join();
  }

  template <typename Work>
  auto call(Work work) -> std::invoke_result_t<Work> {
    if (std::this_thread::get_id() == thread.get_id()) return work();
    return commands.call(std::move(work));
  }

  std::vector<pollfd> all_sources();
  void run();
  void wait();
  bool pump();
  bool take_group();
  void drain();
  bool drain_stopped();
  void return_to_epoch();
  bool take_probe(io::XskSocket::Frame frame, bool from_link);
  Result<void> prove_host();
  void on_tap_frame(io::XskSocket::Frame frame, Nanos now);
  void on_link_frame(io::XskSocket::Frame frame, Nanos now);
  void on_mirrored(std::span<const std::byte> frame);
  void on_uplink_frame(io::XskSocket::Frame frame);
  void on_input(std::span<const std::byte> frame);
  void on_solo_output(io::XskSocket::Frame frame);
  void require_pairing() const;
  void take_role(Role next);
  void become(Role next, ts_tap_mode tap_mode, ts_uplink_mode uplink_mode);

  const io::Tap& tap;
  std::unique_ptr<Port> port;
  LinkSender sender{*port};
  Translator translator{*port};
  PrimarySide primary;
  SecondarySide secondary;
  Announcer announcer{*port};
  Prover prover{*port, sender, tap};
  bool proving = false;
  Role role = Role::closed;
  bool awaits_mark = false;
  std::uint64_t group_lost = 0;
  std::optional<compare::DigestKey> key;  // from the first pairing on
  std::vector<io::XskSocket::Frame> batch;

  CommandQueue commands;
  std::vector<pollfd> sources;  // whatever the thread waits for; the first is the group socket
  bool group_may_have = true;   // frames: only poll() knows that it has none
  std::atomic<bool> stopping = false;
  std::thread thread;  // last: it uses all of the above
};

void Plane::Impl::run() {
  while (!stopping) {
    wait();
    commands.run_all();
    pump();
    const Nanos now = io::monotonic_ns();
    if (role == Role::primary) primary.on_tick(now);
    announcer.on_tick(now);
    primary.flush();
  }
}

std::vector<pollfd> Plane::Impl::all_sources() {
  std::vector<pollfd> all;
  const auto add = [&](int fd) { all.push_back({fd, POLLIN, 0}); };
  add(port->group().fd());
  add(port->tap().fd());
  for (const auto* sockets : {&port->uplinks(), &port->links()})
    for (const auto& socket : *sockets) add(socket->fd());
  add(port->inbox().fd());
  add(commands.fd());
  return all;
}

void Plane::Impl::wait() {
  if (port->view().busy_poll) return port->poll_devices();
  Nanos until = io::monotonic_ns() + kIdleWakeup;
  if (const auto next = announcer.next()) until = std::min(until, *next);
  if (const auto* comparer = primary.comparer(); comparer != nullptr && role == Role::primary)
    if (const auto deadline = comparer->next_deadline()) until = std::min(until, *deadline);
  const Nanos left = std::max<Nanos>(until - io::monotonic_ns(), 0);
  const timespec timeout{.tv_sec = left / kSecond, .tv_nsec = left % kSecond};
  if (::ppoll(sources.data(), sources.size(), &timeout, nullptr) >= 0) group_may_have = sources.front().revents != 0;
}

/// One batch of each socket. Returns whether there was anything.
bool Plane::Impl::pump() {
  const Nanos now = io::monotonic_ns();
  bool any = false;
  const auto each = [&](io::XskSocket& socket, auto&& handle) {
    batch.clear();
    socket.receive(batch, kBatch);
    for (std::size_t i = 0; i < std::min(kAhead, batch.size()); ++i) port->prefetch(batch[i]);
    for (std::size_t i = 0; i < batch.size(); ++i) {
      if (i + kAhead < batch.size()) port->prefetch(batch[i + kAhead]);
      handle(batch[i]);
    }
    any |= !batch.empty();
    return batch.size();
  };
  // Records first: output that they already allow need not be held.
  for (const auto& socket : port->links()) each(*socket, [&](const auto& frame) { on_link_frame(frame, now); });
  const std::size_t outputs = each(port->tap(), [&](const auto& frame) { on_tap_frame(frame, now); });
  for (const auto& socket : port->uplinks()) each(*socket, [&](const auto& frame) { on_uplink_frame(frame); });
  for (const auto& frame : port->inbox().take()) {
    on_input(frame);
    any = true;
  }
  if (std::exchange(group_may_have, true)) any |= take_group();
  if (any) primary.flush();
  if (role == Role::primary && outputs < kBatch) primary.lend(now);
  return any;
}

/// One batch of frames for groups that the VM may be in. Returns whether there was any.
bool Plane::Impl::take_group() {
  for (std::size_t i = 0; i < kBatch; ++i) {
    const auto frame = port->group().receive();
    if (!frame) return i > 0;
    on_input(*frame);
  }
  return true;
}

void Plane::Impl::drain() {
  group_may_have = true;  // what poll() said may be old
  for (int round = 0; pump() && round < kDrainRoundsMax; ++round) {
  }
}

/// Takes in all that the guest, which stands still, has sent: also what the kernel is still at work on. Returns whether
/// the kernel has handed over all of it in time.
bool Plane::Impl::drain_stopped() {
  drain();
  const Nanos begin = io::monotonic_ns();
  awaits_mark = tap.send_mark();
  for (Nanos now = begin, sent = begin; awaits_mark && now - begin < kMarkTimeout; now = io::monotonic_ns()) {
    if (now - sent >= kMarkRetry && tap.send_mark()) sent = now;
    pollfd entry{port->tap().fd(), POLLIN, 0};
    ::poll(&entry, 1, kMarkPollMs);
    drain();
  }
  return !std::exchange(awaits_mark, false);
}

/// The checkpoint under way never came to be: the SVM goes on in its own epoch, whose differences hold again. Frames of
/// the other epoch that lie in the tap are in the wrong numbering.
void Plane::Impl::return_to_epoch() {
  if (port->slot().epoch != secondary.epoch()) {
    port->set_deaf(true);
    port->set_epoch(secondary.epoch());
    tap.drain(kUnreadDiscarded);
  }
  port->set_deaf(false);
}

/// Takes a frame that belongs to the start-up proof.
bool Plane::Impl::take_probe(io::XskSocket::Frame frame, bool from_link) {
  const std::span<const std::byte> bytes = port->bytes(frame);
  const std::size_t outer = from_link ? TS_LINK_OVERHEAD_BYTES : 0;
  if (bytes.size() < outer || !prover.is_probe(bytes.subspan(outer))) return false;
  prover.on_probe(bytes, from_link);
  port->umem().give(frame.address);
  return true;
}

void Plane::Impl::on_tap_frame(io::XskSocket::Frame frame, Nanos now) {
  if (io::Tap::is_mark(port->bytes(frame))) {
    awaits_mark = false;
    port->umem().give(frame.address);
    return;
  }
  if (take_probe(frame, false)) return;
  if (role == Role::primary)
    primary.on_output(frame, now);
  else if (role == Role::secondary)
    secondary.on_output(frame);
  else if (role == Role::solo)
    on_solo_output(frame);
  else
    port->umem().give(frame.address);
}

void Plane::Impl::on_link_frame(io::XskSocket::Frame frame, Nanos now) {
  if (take_probe(frame, true)) return;
  if (role == Role::primary) primary.on_records(port->bytes(frame), now);
  if (role == Role::secondary && port->fragments()) on_mirrored(port->bytes(frame));
  port->umem().give(frame.address);
}

/// The link program would have delivered it, were it not for its size: the same conditions, now that it comes to that.
void Plane::Impl::on_mirrored(std::span<const std::byte> frame) {
  ts_link_header header{};
  if (frame.size() < TS_LINK_OVERHEAD_BYTES) return;
  std::memcpy(&header, frame.data() + TS_LINK_OVERHEAD_BYTES - sizeof(header), sizeof(header));
  const ts_slot_config& slot = port->slot();
  if (header.type != TS_LINK_MIRROR || slot.link_open == 0 || (slot.flags & TS_SLOT_DEAF) != 0 ||
      header.epoch != slot.epoch)
    return;
  port->send_copy(port->input(), frame.subspan(TS_LINK_OVERHEAD_BYTES));
}

void Plane::Impl::on_uplink_frame(io::XskSocket::Frame frame) {
  if (take_probe(frame, false)) return;
  // While the prover holds the gate, and from shut_input() to the first checkpoint, a solo VM's frames come here.
  if (port->fragments())
    on_input(port->bytes(frame));
  else if (role == Role::primary || role == Role::solo)
    primary.on_gated(port->bytes(frame));
  port->umem().give(frame.address);
}

/// Other VMs of this host may be meant: the program has left it to user space.
void Plane::Impl::on_solo_output(io::XskSocket::Frame frame) {
  if (key) {
    const auto shift = translator.on_output(compare::parse(port->bytes(frame), port->meta(frame), *key));
    if (shift.changes()) port->edit(frame).shift(shift);
  }
  port->emit(frame);
}

/// A frame for the VM that no program has delivered.
void Plane::Impl::on_input(std::span<const std::byte> frame) {
  if (role == Role::primary)
    primary.on_input(frame);
  else if (role == Role::solo && port->slot().uplink_mode == TS_UPLINK_GATED)
    primary.on_gated(frame);
  else if (role == Role::solo)
    port->send_copy(port->input(), frame);
}

void Plane::Impl::require_pairing() const {
  if (primary.comparer() == nullptr) throw std::logic_error("the packet plane has no pairing");
}

/// Clients' frames wait meanwhile: what is in the tap is the proof's.
Result<void> Plane::Impl::prove_host() {
  if (role == Role::primary) return fail("the VM is protected");
  proving = role == Role::solo;
  if (proving) port->set_uplink_mode(TS_UPLINK_GATED);
  drain();
  const auto proven = prover.prove_host([this] { pump(); });
  for (const auto& frame : prover.take_unread()) port->send_copy(port->input(), frame);
  primary.deliver_input();
  if (proving) port->set_uplink_mode(TS_UPLINK_DIRECT);
  drain();
  primary.deliver_input();
  proving = false;
  return proven;
}

void Plane::Impl::take_role(Role next) {
  role = next;
  port->inbox().set_open(next == Role::solo || next == Role::primary);
}

void Plane::Impl::become(Role next, ts_tap_mode tap_mode, ts_uplink_mode uplink_mode) {
  take_role(next);
  announcer.stop();
  port->set_modes(tap_mode, uplink_mode, next == Role::secondary);
}

Plane::Plane(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Plane::~Plane() = default;

Result<std::unique_ptr<Plane>> Plane::create(const PlaneConfig& config, Fabric& fabric, const io::Tap& tap,
                                             OnDiverged on_diverged) {
  auto port = Port::open(config, fabric, tap);
  if (!port) return tl::unexpected(port.error());
  PlaneConfig own = config;
  // The programs can't let out what is in fragments, and the rest would overtake it.
  if ((*port)->fragments()) own.limits.lent_flows_max = 0;
  auto impl = std::make_unique<Impl>(own, tap, std::move(*port), std::move(on_diverged));
  if (auto begun = impl->call([self = impl.get()] { return self->prover.begin(); }); !begun)
    return tl::unexpected(begun.error());
  return std::unique_ptr<Plane>(new Plane(std::move(impl)));
}

Result<void> Plane::pair(const compare::DigestKey& key, std::uint16_t vm_id, io::MacAddress link_peer_mac) {
  return impl_->call([self = impl_.get(), key, vm_id, link_peer_mac]() -> Result<void> {
    // The programs don't reach all of a frame in fragments.
    const bool compares = !self->port->fragments();
    if (auto set = self->port->programs().set_digest_key(self->port->slot_number(), key, compares); !set) return set;
    self->key = key;
    self->primary.pair(key);
    self->secondary.pair(key);
    self->port->set_probe(probe_nonce(key, self->port->slot().nic));
    return self->port->set_peer(vm_id, link_peer_mac);
  });
}

Result<void> Plane::prove_host() {
  return impl_->call([self = impl_.get()] { return self->prove_host(); });
}

Result<void> Plane::prove_link() {
  return impl_->call([self = impl_.get()]() -> Result<void> {
    self->require_pairing();
    return self->prover.prove_link([self] { self->pump(); });
  });
}

void Plane::direct() {
  impl_->call([self = impl_.get()] { self->become(Role::solo, TS_TAP_DIRECT, TS_UPLINK_DIRECT); });
}

Result<void> Plane::standby() {
  return impl_->call([self = impl_.get()]() -> Result<void> {
    self->require_pairing();
    if (auto ready = self->secondary.stand_by(); !ready) return ready;
    self->become(Role::secondary, TS_TAP_HOLD, TS_UPLINK_CLOSED);
    return {};
  });
}

void Plane::shut_input() {
  impl_->call([self = impl_.get()] {
    if (self->role == Role::secondary) {
      self->port->set_deaf(true);
      self->tap.drain(kUnreadDiscarded);
    } else {
      self->port->set_uplink_mode(TS_UPLINK_GATED);
      self->primary.keep_unread(self->tap);
    }
  });
}

EpochFlows Plane::begin_epoch(std::uint32_t epoch, bool svm_rests) {
  return impl_->call([self = impl_.get(), epoch, svm_rests] {
    self->require_pairing();
    // While solo the programs have gone on alone.
    if (self->role != Role::primary) self->translator.refresh(io::monotonic_ns());
    // The gate first: frames that passed it are in the tap's queue by the time that is read, last of all.
    self->become(Role::primary, TS_TAP_HOLD, TS_UPLINK_GATED);
    if (!self->drain_stopped()) spdlog::warn("{}: {}", self->tap.name(), kMarkMissing);
    const Nanos now = io::monotonic_ns();
    EpochFlows flows;
    flows.bases = self->primary.begin_epoch(epoch, svm_rests, self->tap, now);
    flows.translations = self->translator.refresh(now);
    return flows;
  });
}

void Plane::resume_input() {
  impl_->call([self = impl_.get()] {
    const bool mirrors = self->role == Role::primary;
    const auto give = [self, mirrors] {
      self->drain();
      if (mirrors)
        self->primary.resume_input();
      else
        self->primary.deliver_input();
    };
    give();
    self->port->set_uplink_mode(mirrors ? TS_UPLINK_MIRROR : TS_UPLINK_DIRECT);
    give();
  });
}

void Plane::commit(std::uint32_t epoch) {
  impl_->call([self = impl_.get(), epoch] {
    self->require_pairing();
    self->primary.commit(epoch);
  });
}

void Plane::svm_running(std::uint32_t epoch) {
  impl_->call([self = impl_.get(), epoch] {
    self->require_pairing();
    self->primary.comparer()->svm_running(epoch, io::monotonic_ns());
  });
}

void Plane::set_hold(Nanos hold_ns) {
  impl_->call([self = impl_.get(), hold_ns] {
    self->require_pairing();
    self->primary.comparer()->set_hold(hold_ns);
  });
}

void Plane::release_all_and_direct() {
  impl_->call([self = impl_.get()] {
    self->drain();
    self->primary.release_all();
    self->port->set_modes(TS_TAP_DIRECT, TS_UPLINK_DIRECT, false);
    // What the guest sent, and clients too, between the release and the switch.
    self->drain();
    self->primary.release_all();
    self->primary.deliver_input();
    self->take_role(Role::solo);
  });
}

std::size_t Plane::discard_and_close() {
  return impl_->call([self = impl_.get()] {
    self->become(Role::closed, TS_TAP_CLOSED, TS_UPLINK_CLOSED);
    self->drain();
    return self->primary.discard();
  });
}

bool Plane::occupy_reader() {
  return impl_->call([self = impl_.get()] {
    self->port->send_copy(self->port->input(), io::Tap::decoy());
    self->port->input().flush();
    for (const Nanos until = io::monotonic_ns() + kDecoyTimeout; self->tap.unread();) {
      if (io::monotonic_ns() >= until) {
        spdlog::info("{}: QEMU took no decoy: it holds a client's frame that came just before the stop",
                     self->tap.name());
        return false;
      }
      std::this_thread::sleep_for(kDecoyPoll);
    }
    return true;
  });
}

Result<void> Plane::standby_stop(std::uint32_t next_epoch) {
  return impl_->call([self = impl_.get(), next_epoch]() -> Result<void> {
    self->require_pairing();
    // A frame that is still on its way here would count as the next epoch's: a number of the state that ends, taken for
    // one of the state that begins.
    if (!self->drain_stopped()) return fail(kMarkMissing);
    self->port->set_deaf(true);
    self->tap.drain(kUnreadDiscarded);
    self->port->set_epoch(next_epoch);
    self->port->set_deaf(false);
    return {};
  });
}

void Plane::standby_return() {
  impl_->call([self = impl_.get()] {
    self->require_pairing();
    self->return_to_epoch();
  });
}

void Plane::standby_begin(std::uint32_t epoch, const EpochFlows& flows) {
  impl_->call([self = impl_.get(), epoch, copy = flows] {
    self->require_pairing();
    self->drain();
    self->secondary.begin_epoch(epoch, copy);
    self->port->set_epoch(epoch);
  });
}

FailoverStats Plane::take_over() {
  return impl_->call([self = impl_.get()] {
    self->require_pairing();
    // The link first: a late frame of the client could still teach a difference, while the flows are read and written.
    self->port->set_modes(TS_TAP_HOLD, TS_UPLINK_CLOSED, false);
    self->drain();
    self->return_to_epoch();
    auto stats = self->secondary.carry_over_flows(io::monotonic_ns());
    stats.frames_replayed = self->secondary.replay();
    self->port->set_modes(TS_TAP_DIRECT, TS_UPLINK_DIRECT, false);
    // What the SVM sent between the replay and the switch.
    self->drain();
    stats.frames_replayed += self->secondary.replay();
    self->port->programs().flows().close(self->port->slot_number());
    self->take_role(Role::solo);
    self->announcer.start(io::monotonic_ns());
    return stats;
  });
}

PlaneStats Plane::stats() {
  return impl_->call([self = impl_.get()] {
    PlaneStats stats;
    if (self->primary.comparer() != nullptr) stats.compare = self->primary.stats();
    stats.xdp = self->port->counters();
    stats.tap_losses = self->port->tap().losses();
    stats.uplink_losses = Port::losses(self->port->uplinks());
    stats.link_losses = Port::losses(self->port->links());
    stats.frames_unsent = self->port->frames_unsent();
    self->group_lost += self->port->group().take_lost();
    stats.inbound_dropped = self->primary.inbound_dropped() + self->group_lost + self->port->inbox().dropped();
    stats.records_sent = self->sender.records_sent();
    stats.record_frames_lost = self->primary.record_frames_lost();
    stats.umem_free = self->port->umem().free_chunks();
    stats.replay_frames = self->secondary.ring_frames();
    return stats;
  });
}

std::vector<compare::FlowView> Plane::flows() {
  return impl_->call([self = impl_.get()] {
    const auto* comparer = self->primary.comparer();
    return comparer == nullptr ? std::vector<compare::FlowView>{} : comparer->flows();
  });
}

NicView Plane::nic() {
  return impl_->call([self = impl_.get()] {
    NicView view = self->port->view_now();
    view.queues_polled = self->port->queues_polled();
    return view;
  });
}

}  // namespace twinstep::daemon
