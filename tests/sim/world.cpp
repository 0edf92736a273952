// SPDX-License-Identifier: Apache-2.0
#include "world.hpp"

#include <algorithm>

namespace twinstep::sim {
namespace {

constexpr Nanos kUplinkDelayMin = 50 * kMicrosecond;
constexpr Nanos kWatchEvery = 50 * kMillisecond;
/// I4's bound here: two timeouts of the session (800 ms, 1 s), the longest HOLD, and the ends' retransmission timeouts.
constexpr Nanos kRecoveryMax = 5 * kSecond;
/// Faults come within the first seconds; then the client finishes.
constexpr Nanos kFaultsEnd = 2600 * kMillisecond;
constexpr Nanos kRunMax = 60 * kSecond;
constexpr std::uint64_t kActionsAtOnceMax = 10'000;

}  // namespace

Outcome run_seed(std::uint64_t seed, Planted planted, bool trace) {
  return World(seed, planted, trace).run();
}

World::World(std::uint64_t seed, Planted planted, bool trace)
    : context_(seed, planted, trace),
      checkers_(context_),
      arbiter_(context_, [this](Nanos asked_at) { record_changed(asked_at); }),
      link_(context_),
      client_(context_, [this](const Packet& packet) { send_to_hosts(packet); }) {
  HostWorld& self = *this;
  for (const HostIndex host : {kHostA, kHostB})
    hosts_[host] = std::make_unique<Host>(context_, checkers_, arbiter_, link_, self, host);
}

Outcome World::run() {
  Random& random = context_.random;
  auto& scheduler = context_.scheduler;
  started_at_ = quiet_at_ = context_.now();
  faults_ = draw_faults(random);
  for (const Fault& fault : faults_) {
    context_.trace("world", "will come: " + describe(fault));
    countdown_.push_back(fault.nth);
    if (fault.nth == 0) scheduler.after(fault.at_ns, [this, &fault] { strike(fault); });
  }
  for (const HostIndex host : {kHostA, kHostB})
    scheduler.after(random.between(0, 20 * kMillisecond), [this, host] { hosts_[host]->boot(); });
  for (const HostIndex host : {kHostA, kHostB}) {
    const Nanos every = random.between(100 * kMillisecond, 400 * kMillisecond);
    scheduler.after(every, [this, host, every] { hosts_[host]->keep_protected(every); });
  }
  for (const HostIndex host : {kHostA, kHostB}) {
    if (!random.chance(0.3)) continue;
    const Nanos at = random.between(200 * kMillisecond, kFaultsEnd);
    scheduler.after(at, [this, host, mode = draw_mode(random)] { hosts_[host]->operator_mode(mode); });
  }
  scheduler.after(random.between(100 * kMillisecond, 600 * kMillisecond), [this] { client_.start(); });
  watch();
  while (!over() && scheduler.run_one()) {
    if (scheduler.actions_now() > kActionsAtOnceMax)
      context_.violate("I5", "somebody asks to be woken at once, again and again");
  }
  return Outcome{context_.violation(), context_.marks(), context_.fingerprint()};
}

bool World::over() const {
  if (context_.violation() || service_lost_) return true;
  return context_.now() > std::max(started_at_ + kFaultsEnd, quiet_at_) && client_.done();
}

void World::watch() {
  const Nanos now = context_.now();
  const std::string stuck = client_.stuck(quiet_at_, kRecoveryMax);
  if (!stuck.empty())
    context_.violate("I4", "the client's " + stuck + " stands still, " + std::to_string(kRecoveryMax / kMillisecond) +
                               " ms after the last fault");
  if (now - started_at_ > kRunMax) context_.violate("I4", "the client did not finish");
  context_.scheduler.after(kWatchEvery, [this] { watch(); });
}

// ---------------------------------------------------------------------------------------------------------------------
// The uplink

void World::over_the_uplink(const std::function<void()>& delivery) {
  Random& random = context_.random;
  const auto deliver_once = [&] {
    context_.scheduler.after(random.between(kUplinkDelayMin, context_.profile.uplink_delay_max), delivery);
  };
  if (random.chance(context_.profile.uplink_loss)) return;
  deliver_once();
  if (random.chance(context_.profile.uplink_duplicate)) deliver_once();
}

void World::send_to_hosts(const Packet& packet) {
  if (context_.tracing()) context_.print("client", "sends " + describe(packet));
  // The switch floods: both hosts hear the client, and each knows whether it is the VM's voice.
  for (const HostIndex host : {kHostA, kHostB}) {
    over_the_uplink([this, host, packet] {
      if (hosts_[host]->alive()) hosts_[host]->plane().uplink_received(packet);
    });
  }
}

void World::send_to_client(HostIndex /*host*/, const Packet& packet) {
  over_the_uplink([this, packet] { client_.receive(packet); });
}

// ---------------------------------------------------------------------------------------------------------------------
// Faults

std::optional<FaultKind> World::effect_fails(HostIndex host, std::size_t effect) {
  for (std::size_t index = 0; index < faults_.size(); ++index) {
    const Fault& fault = faults_[index];
    if (countdown_[index] == 0 || fault.host != host || fault.effect != effect || --countdown_[index] != 0) continue;
    if (fault.kind == FaultKind::step_failure || fault.kind == FaultKind::beyond_bound) {
      quiet_until(context_.now());
      return fault.kind;
    }
    strike(fault);
  }
  return {};
}

void World::quiet_until(Nanos at) {
  quiet_at_ = std::max(quiet_at_, at);
}

void World::strike(const Fault& fault) {
  Host& host = *hosts_[fault.host];
  const Nanos end = context_.now() + fault.lasts_ns;
  context_.trace("world", describe(fault));
  quiet_until(end);
  switch (fault.kind) {
    case FaultKind::host_crash:
      mark_promotion_branches(fault.host);
      host.crash(fault.silent);
      struck_at_ = context_.now();
      note_loss_of_service(true);
      if (fault.lasts_ns != 0) {
        context_.scheduler.at(end, [&host] {
          if (!host.alive()) host.boot();
        });
      }
      return;
    case FaultKind::qemu_death:
      mark_promotion_branches(fault.host);
      host.kill_qemu();
      struck_at_ = context_.now();
      note_loss_of_service(true);
      return;
    case FaultKind::link_cut:
      link_.cut();
      if (fault.lasts_ns != 0) context_.scheduler.at(end, [this] { link_.heal(); });
      return;
    case FaultKind::arbiter_outage:
      arbiter_.set_reachable(false);
      context_.scheduler.at(end, [this] { arbiter_.set_reachable(true); });
      return;
    case FaultKind::operator_failover:
      operator_asked_ = true;
      host.operator_failover();
      return;
    case FaultKind::step_failure:
    case FaultKind::beyond_bound:
      return;  // happens when its effect is carried out
  }
}

bool World::survivable() const {
  const auto& record = arbiter_.record();
  for (const HostIndex host : {kHostA, kHostB}) {
    if (!hosts_[host]->alive()) continue;
    if (!record && host == kHostA) return true;
    if (!record) continue;
    const bool named = record->primary == host_name(host) || record->secondary == host_name(host);
    if (named && hosts_[host]->has_vm()) return true;
  }
  return false;
}

void World::note_loss_of_service(bool by_fault) {
  if (survivable() || service_lost_) return;
  if (!by_fault && !operator_asked_) return;  // the client will tell
  context_.trace("world", "the VM is lost: no host that may run it is left");
  service_lost_ = true;
  client_.disable();
}

void World::vm_ended(HostIndex /*host*/) {
  note_loss_of_service(false);
}

void World::record_changed(Nanos asked_at) {
  // A request that was under way when the fault struck may be what takes the last chance.
  note_loss_of_service(asked_at <= struck_at_ + 5 * kMillisecond);
}

void World::mark_promotion_branches(HostIndex crashed) {
  if (!hosts_[peer_of(crashed)]->alive() || !hosts_[crashed]->alive()) return;
  const session::View* survivor = hosts_[peer_of(crashed)]->view();
  if (survivor->role == session::Role::secondary && survivor->state == session::State::guarded)
    context_.mark("the primary fell while protected");
  if (survivor->role == session::Role::primary && survivor->state == session::State::guarded)
    context_.mark("the secondary fell while protecting");
}

}  // namespace twinstep::sim
