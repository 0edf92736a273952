// SPDX-License-Identifier: Apache-2.0
//
// The session machine's effects against the real world, on the session thread and in the order that the machine gave.
#include <poll.h>
#include <spdlog/spdlog.h>

#include <chrono>
#include <cstring>
#include <utility>

#include "daemon/vm/epoch_flows.hpp"
#include "daemon/vm/vm.hpp"

namespace twinstep::daemon {
namespace {

using namespace std::chrono_literals;

static_assert(io::kPageStreamsMax == memory::kStreamsMax);

constexpr Nanos kArbiterTimeout = 500 * kMillisecond;
constexpr Nanos kStreamOpenTimeout = 10 * kSecond;
constexpr auto kStreamStallTimeout = 5s;
constexpr auto kNextImageTimeout = 24h;  // epochs may be long; a dead peer ends the stream by StopStreams
constexpr int kDeathGraceMs = 200;       // between the end of QEMU's monitor and that of its process

int slowdown_percent(const memory::SyncPace& pace) {
  return 100 * pace.slowdown() / (memory::SyncPace::kSlowdownMax + 1);
}

std::string how_sent(const memory::ImageSender& sender) {
  return std::to_string(sender.streams()) + " streams, " + (sender.zero_copy() ? "zero-copy" : "copied by the kernel");
}

std::span<const std::byte, 16> seed_bytes(const std::array<std::uint8_t, 16>& seed) {
  return std::as_bytes(std::span(seed));
}

/// The digests' key takes all of the seed, this takes a part: what is learned of the one tells nothing of the other.
memory::PageHashKey page_hash_key(const std::array<std::uint8_t, 16>& seed) {
  memory::PageHashKey key = 0;
  std::memcpy(&key, seed.data(), sizeof(key));
  return key;
}

}  // namespace

void Vm::report(session::Step step, const Result<void>& result, session::Event done) {
  if (result) return post(std::move(done));
  // A step that failed because QEMU ended is the VM's end, not the step's failure: the peer may have to take over.
  if (guest_ && !death_told_) {
    pollfd death{guest_->qemu().death_fd(), POLLIN, 0};
    if (guest_->qemu().qmp().closed()) ::poll(&death, 1, kDeathGraceMs);
    if (!guest_->qemu().alive()) {
      death_told_ = true;
      return post(session::VmDied{guest_->qemu().exit_reason()});
    }
  }
  post(session::StepFailed{step, result.error().message});
}

// ---- QEMU -----------------------------------------------------------------------------------------------------------

Result<void> Vm::start_guest(bool paused) {
  const auto on_diverged = [this](std::size_t nic, std::uint32_t epoch, const compare::Diverged& diverged) {
    spdlog::info("{}: epoch {} diverged on NIC {} ({}) {}", config_.name, epoch, nic,
                 compare::to_string(diverged.cause), diverged.detail);
    post(session::Diverged{epoch, diverged.cause});
  };
  auto guest = Guest::start(host_.config, config_, vm_id_, *place_, paused, on_diverged);
  if (!guest) return tl::make_unexpected(guest.error());
  guest_ = std::move(*guest);
  death_told_ = false;
  return {};
}

void Vm::carry_out(const session::StartVm& /*effect*/) {
  report(session::Step::start_vm, start_guest(false), session::VmStarted{});
}

void Vm::carry_out(const session::KillVm& /*effect*/) {
  guest_.reset();
}

// ---- Messages and arbiter -------------------------------------------------------------------------------------------

void Vm::carry_out(const session::Send& effect) {
  if (host_.send(effect.message, vm_id_, body_of(effect.message))) return;
  spdlog::warn("{}: couldn't tell {} {}: not connected", config_.name, host_.config.peer.name,
               session::to_string(effect.message.type));
}

void Vm::carry_out(const session::ArbiterSwap& effect) {
  post(session::ArbiterAnswered{host_.arbiter.swap(config_.name, effect.expected, effect.desired, kArbiterTimeout)});
}

void Vm::carry_out(const session::ArbiterRead& /*effect*/) {
  post(session::ArbiterAnswered{host_.arbiter.read(config_.name, kArbiterTimeout)});
}

void Vm::carry_out(const session::Reply& effect) {
  if (const auto waiting = replies_.find(effect.op); waiting != replies_.end()) waiting->second.set_value(effect.error);
}

void Vm::carry_out(const session::Journal& effect) {
  spdlog::info("{}: {}", config_.name, effect.text);
}

// ---- Gate -----------------------------------------------------------------------------------------------------------

void Vm::carry_out(const session::OpenGate& /*effect*/) {
  guest_->planes().direct();
}

void Vm::carry_out(const session::CommitOutput& effect) {
  guest_->planes().commit(effect.epoch);
}

void Vm::carry_out(const session::CompareFrom& effect) {
  guest_->planes().set_hold(effect.hold_ns);
  guest_->planes().svm_running(effect.epoch);
  if (!pairing_.stream) return;
  pairing_.stream->run_until_stopped(
      [this, epoch = effect.epoch, generation = machine_.view().record.generation](const std::stop_token& stopped) {
        const Nanos ahead_ns = host_.config.memory.ahead_ns;
        watch_memory(stopped, epoch, generation, ahead_ns == 0 ? std::nullopt : std::optional(ahead_ns));
      });
}

void Vm::carry_out(const session::ReleaseAll& /*effect*/) {
  guest_->planes().release_all_and_direct();
}

void Vm::carry_out(const session::ShutGate& /*effect*/) {
  if (guest_) guest_->planes().discard_and_close();
}

void Vm::carry_out(const session::TakeOver& /*effect*/) {
  const auto stats = guest_->planes().take_over();
  spdlog::info("{}: gate open, {} frames replayed, {} flows carried on, {} with other numbers", config_.name,
               stats.frames_replayed, stats.flows, stats.flows_renumbered);
}

// ---- Primary --------------------------------------------------------------------------------------------------------

void Vm::carry_out(const session::LiveSync& /*effect*/) {
  if (const auto prepared = prepare_sync(); !prepared) {
    return report(session::Step::live_sync, prepared, session::LiveSyncDone{});
  }
  pairing_.stream->run([this, attempt = pairing_.attempt.load(), generation = machine_.view().record.generation] {
    if (const auto synced = sync_live(generation); synced) {
      post_from_worker(session::LiveSyncDone{}, attempt);
    } else {
      post_from_worker(session::StepFailed{session::Step::live_sync, synced.error().message}, attempt);
    }
  });
}

Result<void> Vm::prepare_sync() {
  // Asked by protect() already, but devices may have come since, and attempts at protecting again come by themselves.
  if (auto covered = check_coverage(); !covered) return covered;
  const auto key = compare::DigestKey::from_seed(seed_bytes(pairing_.digest_seed));
  if (const auto paired = guest_->planes().pair(key, vm_id_, pairing_.prepared->link_mac); !paired) return paired;
  if (const auto proven = guest_->planes().prove_link(); !proven) return proven;
  if (const auto ready = guest_->become_primary(epoch_bytes_max(), page_hash_key(pairing_.digest_seed)); !ready)
    return ready;
  auto sockets = io::connect_page_streams(host_.config.link.address, host_.config.peer.address,
                                          pairing_.prepared->page_stream_port, pairing_.token,
                                          host_.config.memory.streams, kStreamOpenTimeout);
  if (!sockets) return tl::make_unexpected(sockets.error());
  pairing_.stream.emplace(std::move(*sockets));
  auto sender = memory::ImageSender::create(pairing_.stream->sockets(), kStreamStallTimeout);
  if (!sender) return tl::make_unexpected(sender.error());
  pairing_.sender.emplace(std::move(*sender));
  pairing_.sender->limit_rate(host_.config.memory.copy_bytes_per_s_max);
  return {};
}

Result<void> Vm::sync_live(std::uint64_t generation) {
  memory::SyncPace pace(epoch_bytes_max() / memory::kPageBytes);
  for (bool more = true; more;) {
    const auto round = sync_round(generation, pace);
    if (!round) return tl::make_unexpected(round.error());
    const int slowdown = pace.slowdown();
    more = pace.after_round(*round);
    spdlog::info("{}: synchronised, round {}: {} pages sent, {} left; {}", config_.name, pace.rounds(),
                 round->pages_sent, round->pages_left, how_sent(*pairing_.sender));
    if (pace.slowdown() != slowdown)
      spdlog::warn(
          "{}: the guest writes faster than the link carries: it is stopped {} % of the time until the first "
          "checkpoint",
          config_.name, slowdown_percent(pace));
  }
  return {};
}

Result<memory::LiveRound> Vm::sync_round(std::uint64_t generation, const memory::SyncPace& pace) {
  sync_.begin_round(pace.rounds() + 1, guest_->primary().pages_pending(), slowdown_percent(pace), io::monotonic_ns());
  int part = 0;
  bool standing = false;
  // The session thread leaves QEMU's monitor alone as long as this goes on.
  const auto round =
      guest_->primary().live_round(*pairing_.sender, generation, [&](const memory::SentInfo& sent) -> Result<void> {
        sync_.sent(sent.pages, sent.bytes, io::monotonic_ns());
        const bool stand = part++ % (memory::SyncPace::kSlowdownMax + 1) < pace.slowdown();
        if (stand == std::exchange(standing, stand)) return {};
        return stand ? guest_->stop() : guest_->resume();
      });
  sync_.end();
  const auto resumed = standing ? guest_->resume() : Result<void>();
  if (round && !resumed) return tl::make_unexpected(resumed.error());
  return round;
}

void Vm::carry_out(const session::PausePrimary& effect) {
  auto entry = pause_primary(effect);
  if (entry) {
    log_.add(std::move(*entry));
    return post(session::PauseDone{effect.epoch});
  }
  // Whatever failed, the VM goes on; that it is no longer protected is the machine's business.
  if (const auto resumed = guest_->resume(); !resumed) spdlog::error("{}: {}", config_.name, resumed.error().message);
  guest_->planes().resume_input();
  if (guest_->primary().beyond_bound())
    return post(session::StepFailed{session::Step::pause_primary, entry.error().message, true});
  report(session::Step::pause_primary, tl::make_unexpected(entry.error()), session::PauseDone{});
}

Result<CheckpointEntry> Vm::pause_primary(const session::PausePrimary& effect) {
  CheckpointEntry entry;
  entry.epoch = effect.epoch;
  // The image before was committed. Nothing is sent ahead any more.
  pairing_.stream->stop();
  if (!effect.svm_ran) pairing_.svm = {memory::PageBitmap(pairing_.svm.dirty.pages()), {}};
  entry.cause = checkpoint::to_string(machine_.checkpoint_cause());
  // Beside the running VM: what is left for the pause is little.
  if (const auto prestaged = guest_->primary().prestage(pairing_.svm); !prestaged)
    return tl::make_unexpected(prestaged.error());
  // Before the stop: QEMU reads one more frame after it, and hands that to the VM when it runs again (net/tap.c).
  guest_->planes().shut_input();
  Nanos last = io::monotonic_ns();
  const auto lap = [&last] {
    const Nanos now = io::monotonic_ns();
    return now - std::exchange(last, now);
  };
  if (const auto stopped = guest_->stop(); !stopped) return tl::make_unexpected(stopped.error());
  entry.pause.stop_ns = lap();
  const auto state = guest_->save();
  if (!state) return tl::make_unexpected(state.error());
  pairing_.device_state = *state;
  entry.pause.save_ns = lap();
  const auto staged = guest_->primary().stage(pairing_.svm);
  if (!staged) return tl::make_unexpected(staged.error());
  entry.pause.scan_ns = lap() - staged->copy_ns;
  if (const auto taken = take_page_checksums(); !taken) return tl::make_unexpected(taken.error());
  entry.pause.copy_ns = lap() + staged->copy_ns;
  pairing_.flows = guest_->planes().begin_epoch(effect.epoch, effect.svm_rests);
  entry.pause.scan_ns += lap();
  if (const auto resumed = guest_->resume(); !resumed) return tl::make_unexpected(resumed.error());
  entry.pause.cont_ns = lap();
  guest_->planes().resume_input();
  entry.pages_dirty = staged->pages_dirty;
  entry.verified = host_.config.memory.verify;
  entry.paused_at_ns = io::monotonic_ns();
  return entry;
}

Result<void> Vm::take_page_checksums() {
  pairing_.page_checksums.clear();
  if (!host_.config.memory.verify) return {};
  auto checksums = guest_->page_checksums();
  if (!checksums) return tl::make_unexpected(checksums.error());
  pairing_.page_checksums = std::move(*checksums);
  return {};
}

void Vm::carry_out(const session::StreamImage& effect) {
  pairing_.stream->run_until_stopped([this, epoch = effect.epoch, attempt = pairing_.attempt.load(),
                                      generation = machine_.view().record.generation,
                                      meta = encode(pairing_.flows)](const std::stop_token& stopped) {
    // The VM's output waits for this.
    pairing_.sender->limit_rate(0);
    const auto sent = guest_->primary().send_staged(*pairing_.sender, generation, epoch, pairing_.svm,
                                                    {meta, pairing_.device_state, pairing_.page_checksums});
    if (!sent) return post_from_worker(session::StepFailed{session::Step::stream_image, sent.error().message}, attempt);
    pairing_.sender->limit_rate(host_.config.memory.copy_bytes_per_s_max);
    mailbox_.post(Query{[this, epoch, sent = *sent] {
      CheckpointEntry* entry = log_.newest(epoch);
      if (entry == nullptr) return;
      entry->pages_sent = sent.pages;
      entry->bytes_sent = sent.bytes;
    }});
    watch_memory(stopped, epoch, generation, std::nullopt);
  });
}

void Vm::carry_out(const session::StopStreams& /*effect*/) {
  ++pairing_.attempt;
  pairing_.accepting.join();
  pairing_.stream.reset();
  pairing_.sender.reset();
  pairing_.listener.reset();
}

// ---- Secondary ------------------------------------------------------------------------------------------------------

void Vm::carry_out(const session::PrepareStandby& /*effect*/) {
  const auto prepared = prepare_standby();
  if (!prepared) guest_.reset();
  report(session::Step::prepare_standby, prepared, session::VmStarted{});
}

Result<void> Vm::prepare_standby() {
  if (!pairing_.prepare) return fail("the primary sent no definition of " + config_.name);
  const wire::PrepareBody& asked = *pairing_.prepare;
  if (asked.definition_hash != definition_hash(config_) || asked.nics.size() != config_.nics.size()) {
    return fail("the definitions of " + config_.name +
                " differ between the hosts: make memory, qemu_args and the NICs' mac, model and vhost_net equal");
  }
  if (const auto started = start_guest(true); !started) return started;
  // Its VM stands still.
  if (const auto proven = guest_->planes().prove_host(); !proven) return proven;
  if (guest_->machine_type() != asked.machine_type) {
    return fail("QEMU's machine types differ: " + asked.machine_type + " there, " + guest_->machine_type() +
                " here; install the same QEMU, or name a versioned machine type in qemu_args");
  }
  if (const auto same = agree_on_nics(asked.nics); !same) return same;
  const auto key = compare::DigestKey::from_seed(seed_bytes(asked.digest_seed));
  if (const auto paired = guest_->planes().pair(key, vm_id_, asked.link_mac); !paired) return paired;
  if (const auto ready = guest_->become_secondary(epoch_bytes_max(), page_hash_key(asked.digest_seed)); !ready)
    return ready;
  auto listener = io::PageStreamListener::open(host_.config.link.address, 0);
  if (!listener) return tl::make_unexpected(listener.error());
  pairing_.listener.emplace(std::move(*listener));
  if (const auto ready = guest_->planes().standby(); !ready) return ready;
  accept_stream();
  return {};
}

/// That they are as many, in the same order, the hash of the definition has told.
Result<void> Vm::agree_on_nics(const std::vector<wire::PrepareNic>& there) const {
  for (std::size_t i = 0; i < guest_->planes().size(); ++i) {
    const io::Tap& here = guest_->tap(i);
    const std::string nic = "NIC " + std::to_string(i) + " of " + config_.name;
    const bool offloads = there.at(i).guest_offloads;
    if (there[i].mtu_bytes != here.mtu())
      return fail("the MTU of the uplink of " + nic + " is " + std::to_string(there[i].mtu_bytes) + " there and " +
                  std::to_string(here.mtu()) + " here: make them equal (ip link set DEVICE mtu N)");
    if (offloads != (here.offloads() == io::GuestOffloads::on))
      return fail("guest_offloads of " + nic + " is " + (offloads ? "on" : "off") + " there and " +
                  io::to_string(here.offloads()) +
                  " here: see this host's journal for what it lacks, or set guest_offloads = \"off\" on both hosts");
  }
  return {};
}

void Vm::accept_stream() {
  pairing_.accepting.start([this, attempt = pairing_.attempt.load()] {
    auto sockets = pairing_.listener->accept(pairing_.token, kStreamOpenTimeout,
                                             [this, attempt] { return pairing_.attempt == attempt; });
    if (!sockets)
      return post_from_worker(session::StepFailed{session::Step::receive_image, sockets.error().message}, attempt);
    mailbox_.post(Query{[this, attempt, made = std::make_shared<std::vector<io::UniqueFd>>(std::move(*sockets))] {
      if (pairing_.attempt != attempt) return;
      pairing_.stream.emplace(std::move(*made));
      if (const auto ready = guest_->secondary().receive_from(pairing_.stream->sockets()); !ready)
        return post(session::StepFailed{session::Step::receive_image, ready.error().message});
      receive_next();
    }});
  });
}

void Vm::receive_next() {
  // Live rounds go into the RAM as they come; a checkpoint ends the job, as its buffers are in use until it is applied.
  pairing_.stream->run([this, attempt = pairing_.attempt.load()] {
    for (;;) {
      const auto received = guest_->secondary().receive(kNextImageTimeout, kStreamStallTimeout);
      if (!received)
        return post_from_worker(session::StepFailed{session::Step::receive_image, received.error().message}, attempt);
      if (received->kind == memory::ImageKind::checkpoint)
        return post_from_worker(session::ImageReceived{received->epoch}, attempt);
    }
  });
}

void Vm::carry_out(const session::StopSvm& effect) {
  report(session::Step::stop_svm, stop_svm(effect.epoch), session::SvmStopDone{effect.epoch});
}

Result<void> Vm::stop_svm(std::uint32_t epoch) {
  if (const auto stopped = guest_->stop_as_standby(); !stopped) return stopped;
  if (const auto stopped = guest_->planes().standby_stop(epoch); !stopped) return stopped;
  auto dirty = guest_->secondary().scan_dirty();
  if (!dirty) return tl::make_unexpected(dirty.error());
  pairing_.svm = std::move(*dirty);
  return {};
}

void Vm::carry_out(const session::ApplyImage& effect) {
  const auto applied = effect.svm_rests ? keep_image(effect.epoch) : apply_image(effect.epoch);
  report(session::Step::apply_image, applied, session::ApplyDone{effect.epoch});
  // While the SVM rests the next image may lie there already: the word of it has to come after this one.
  if (applied) receive_next();
}

Result<void> Vm::apply_image(std::uint32_t epoch) {
  auto& memory = guest_->secondary();
  const auto flows = decode_epoch_flows(memory.image().meta(), guest_->planes().size());
  if (!flows) return tl::make_unexpected(flows.error());
  if (const auto applied = memory.apply(); !applied) return applied;
  if (const auto loaded = guest_->load(memory.image().device_state()); !loaded) return loaded;
  const auto finished = memory.finish();
  if (!finished) return tl::make_unexpected(finished.error());
  if (*finished) ++checkpoints_verified_;
  guest_->planes().standby_begin(epoch, *flows);
  return guest_->resume();
}

Result<void> Vm::keep_image(std::uint32_t epoch) {
  auto& memory = guest_->secondary();
  auto flows = decode_epoch_flows(memory.image().meta(), guest_->planes().size());
  if (!flows) return tl::make_unexpected(flows.error());
  if (const auto applied = memory.apply(); !applied) return applied;
  const auto state = memory.image().device_state();
  pairing_.resting_state.assign(state.begin(), state.end());
  pairing_.resting_flows = std::move(*flows);
  if (const auto finished = memory.finish(); !finished) return tl::make_unexpected(finished.error());
  // What clients send from here on waits in the tap: a woken SVM needs no retransmission of it.
  if (const auto stopped = guest_->planes().standby_stop(epoch); !stopped) return stopped;
  guest_->planes().standby_begin(epoch, pairing_.resting_flows);
  return {};
}

void Vm::carry_out(const session::WakeSvm& effect) {
  report(session::Step::apply_image, wake_svm(effect.epoch), session::ApplyDone{effect.epoch});
}

Result<void> Vm::wake_svm(std::uint32_t epoch) {
  if (const auto loaded = guest_->load(pairing_.resting_state); !loaded) return loaded;
  guest_->planes().standby_begin(epoch, pairing_.resting_flows);
  return guest_->resume();
}

void Vm::carry_out(const session::ResumeSvm& /*effect*/) {
  guest_->planes().standby_return();
  if (const auto resumed = guest_->resume(); !resumed) spdlog::error("{}: {}", config_.name, resumed.error().message);
}

}  // namespace twinstep::daemon
