// SPDX-License-Identifier: Apache-2.0
#include "host.hpp"

#include <algorithm>
#include <string>
#include <utility>
#include <variant>

namespace twinstep::sim {
namespace {

constexpr Nanos kHeartbeatEvery = 25 * kMillisecond;

session::Config config_of(HostIndex index, checkpoint::Mode mode) {
  session::Config config;
  config.self = host_name(index);
  config.peer = host_name(peer_of(index));
  config.home = index == kHostA;
  config.step_timeout_ns = 800 * kMillisecond;
  config.prepare_timeout_ns = kSecond;
  config.commit_timeout_ns = kSecond;
  config.policy.epoch_max_ns = 700 * kMillisecond;
  config.policy.period_ns = 10 * kMillisecond;
  config.policy.mode = {.short_epoch_ns = 100 * kMillisecond,
                        .short_epochs_max = 2,
                        .good_epoch_ns = 200 * kMillisecond,
                        .probe_min_ns = 150 * kMillisecond,
                        .probe_max_ns = 600 * kMillisecond};
  config.mode = mode;
  return config;
}

}  // namespace

Host::Host(Context& context, Checkers& checkers, Arbiter& arbiter, Link& link, HostWorld& world, HostIndex index)
    : context_(context), checkers_(checkers), arbiter_(arbiter), link_(link), world_(world), index_(index) {
  link_.attach(index_, *this);
}

// ---------------------------------------------------------------------------------------------------------------------
// Life and death

void Host::boot() {
  context_.trace(index_, "boots");
  alive_ = true;
  machine_.emplace(config_of(index_, context_.profile.mode));
  PlanePorts ports;
  ports.to_client = [this](const Packet& packet) { world_.send_to_client(index_, packet); };
  ports.to_link = [this](const RawFrame& frame) { link_.send_raw(index_, frame); };
  ports.diverged = [this](std::uint32_t epoch, compare::Cause cause) { step(session::Diverged{epoch, cause}); };
  ports.record = [this] { return arbiter_.record().value_or(failover::Record{}); };
  plane_ = std::make_unique<Plane>(context_, checkers_, index_, std::move(ports));
  link_.host_up(index_);
  heartbeat();
  const bool known = context_.random.chance(0.7);
  step(session::Boot{known, known ? arbiter_.record() : std::nullopt});
}

void Host::crash(bool silent) {
  if (!alive_) return;
  context_.trace(index_, silent ? "loses power" : "dies");
  alive_ = false;
  ++life_;
  if (vm_) vm_->stop();
  vm_.reset();
  vm_loaded_ = vm_starting_ = false;
  plane_->shut();
  machine_.reset();
  lane_.clear();
  busy_ = false;
  tick_at_.reset();
  staged_.reset();
  incoming_.reset();
  resting_.reset();
  early_pages_.clear();
  streaming_ = Streaming::nothing;
  ++stream_;
  link_.host_down(index_, silent);
}

void Host::kill_qemu() {
  if (!vm_) return;
  context_.trace(index_, "QEMU dies");
  vm_->stop();
  vm_.reset();
  plane_->attach(nullptr);
  later(context_.random.between(kMillisecond / 10, 5 * kMillisecond), [this] { step(session::VmDied{"killed"}); });
}

bool Host::has_vm() const {
  return alive_ && (vm_ != nullptr || vm_starting_);
}

void Host::operator_failover() {
  if (alive_) step(session::OpFailover{++operations_});
}

void Host::operator_mode(checkpoint::Mode mode) {
  if (alive_) step(session::OpMode{++operations_, mode});
}

void Host::keep_protected(Nanos every) {
  if (alive_ && view()->role == session::Role::primary && view()->state == session::State::solo) {
    protect_asked_ = true;
    step(session::OpProtect{++operations_});
  }
  context_.scheduler.after(every, [this, every] { keep_protected(every); });
}

void Host::heartbeat() {
  link_.send_raw(index_, Heartbeat{});
  later(kHeartbeatEvery, [this] { heartbeat(); });
}

// ---------------------------------------------------------------------------------------------------------------------
// The machine and its effects

void Host::later(Nanos delay, const std::function<void()>& action) {
  context_.scheduler.after(delay, [this, life = life_, action] {
    if (alive_ && life == life_) action();
  });
}

void Host::step(const session::Event& event) {
  if (!alive_) return;
  for (session::Effect& effect : machine_->step(event, context_.now())) lane_.push_back(std::move(effect));
  watch_deadline();
  pump();
}

void Host::watch_deadline() {
  const auto deadline = machine_->next_deadline();
  if (!deadline || (tick_at_ && *tick_at_ <= *deadline)) return;
  tick_at_ = std::max(*deadline, context_.now());
  later(*tick_at_ - context_.now(), [this, at = *tick_at_] {
    if (tick_at_ != at) return;
    tick_at_.reset();
    step(session::Tick{});
  });
}

void Host::pump() {
  if (busy_ || lane_.empty()) return;
  busy_ = true;
  later(context_.random.between(5 * kMicrosecond, 150 * kMicrosecond), [this] {
    const session::Effect effect = std::move(lane_.front());
    lane_.pop_front();
    const auto fails = world_.effect_fails(index_, effect.index());
    if (!alive_) return;
    if (fails && fails_now(effect, *fails)) return;
    std::visit([this](const auto& e) { carry_out(e); }, effect);
  });
}

void Host::finish() {
  busy_ = false;
  pump();
}

void Host::finish_with(const session::Event& event) {
  busy_ = false;
  step(event);
}

void Host::fail(session::Step which) {
  finish_with(session::StepFailed{which, "it was made to fail"});
}

bool Host::fails_now(const session::Effect& effect, FaultKind how) {
  context_.trace(index_, "a step fails");
  if (how == FaultKind::beyond_bound) {
    finish_with(session::StepFailed{session::Step::pause_primary, "it is beyond the bound", true});
    return true;
  }
  if (std::holds_alternative<session::PrepareStandby>(effect)) return fail(session::Step::prepare_standby), true;
  if (std::holds_alternative<session::LiveSync>(effect)) return fail(session::Step::live_sync), true;
  if (std::holds_alternative<session::PausePrimary>(effect)) return fail(session::Step::pause_primary), true;
  if (std::holds_alternative<session::StreamImage>(effect)) return fail(session::Step::stream_image), true;
  if (std::holds_alternative<session::StopSvm>(effect)) return fail(session::Step::stop_svm), true;
  return false;
}

void Host::make_vm() {
  const auto output = [this](const Packet& packet) {
    if (plane_ == nullptr) return;
    if (vm_loaded_ && run_ != 0) checkers_.output.svm_sent(run_, packet);
    plane_->vm_sent(packet);
  };
  vm_ = std::make_shared<Vm>(context_, output);
  vm_->guest.state.secret = 0x5eed;
  plane_->attach(vm_);
  vm_starting_ = false;
}

// ---------------------------------------------------------------------------------------------------------------------
// The link

void Host::link_connected() {
  step(session::PeerConnected{});
}

void Host::link_disconnected(const std::string& reason) {
  if (!alive_) return;
  step(session::PeerDisconnected{reason});
  stream_broken();
}

void Host::link_message(const session::Message& message) {
  step(session::MessageReceived{message});
}

void Host::link_frame(const RawFrame& frame) {
  if (!alive_) return;
  if (std::holds_alternative<Heartbeat>(frame)) {
    step(session::PeerHeard{});
  } else {
    plane_->link_received(frame);
  }
}

}  // namespace twinstep::sim
