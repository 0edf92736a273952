// SPDX-License-Identifier: Apache-2.0
#include "core/session/machine.hpp"

#include <utility>

#include "core/session/handler.hpp"

namespace twinstep::session {

Machine::Machine(Config config) : config_(std::move(config)), policy_(config_.policy, config_.mode) {}

Effects Machine::step(const Event& event, Nanos now) {
  Effects out;
  Handler handler{*this, now, out};
  std::visit([&](const auto& e) { handler.on(e); }, event);
  return out;
}

std::optional<Nanos> Machine::next_deadline() const {
  std::optional<Nanos> next;
  const auto consider = [&next](std::optional<Nanos> at) {
    if (at && (!next || *at < *next)) next = at;
  };
  consider(phase_deadline_);
  consider(ask_again_ns_);
  if (peer_connected_) consider(view_.protects_again_at_ns);
  // A loss that is already known and waits for the arbiter's answer needs no second finding.
  const bool watching = !peer_lost_ && (view_.state == State::guarded || view_.state == State::syncing);
  if (watching) consider(last_heard_ns_ + config_.peer_timeout_ns);
  if (view_.role == Role::primary && view_.state == State::guarded && phase_ == Phase::idle)
    consider(policy_.next_deadline());
  return next;
}

void Machine::Handler::on(const PeerConnected& /*event*/) {
  m.peer_connected_ = true;
  m.last_heard_ns_ = now;
}

void Machine::Handler::on(const PeerDisconnected& event) {
  m.peer_connected_ = false;
  peer_lost("connection to " + m.config_.peer + " lost: " + event.reason);
}

void Machine::Handler::on(const PeerHeard& /*event*/) {
  m.last_heard_ns_ = now;
}

void Machine::Handler::on(const MessageReceived& event) {
  m.last_heard_ns_ = now;
  const Message& message = event.message;
  if (message.type == MessageType::prepare) {
    accept_prepare(message);
    return;
  }
  if (message.pairing != m.pairing_) return;  // of an earlier attempt
  if (m.view_.role == Role::primary) {
    primary_message(message);
  } else if (m.view_.role == Role::secondary) {
    secondary_message(message);
  }
}

void Machine::Handler::on(const VmStarted& /*event*/) {
  if (m.view_.state != State::starting) return;
  if (m.view_.role == Role::primary) {
    m.view_.state = State::solo;
    out.emplace_back(OpenGate{});
    journal("runs unprotected");
  } else {
    m.view_.state = State::syncing;
    enter(Phase::idle);
    send(MessageType::prepared);
  }
}

void Machine::Handler::on(const VmDied& event) {
  if (m.view_.role == Role::primary) {
    hand_over("QEMU ended: " + event.reason);
  } else if (m.view_.role == Role::secondary) {
    send(MessageType::secondary_gone, 0, "the secondary's QEMU ended: " + event.reason);
    leave("QEMU ended: " + event.reason);
  }
}

void Machine::Handler::on(const StepFailed& event) {
  const std::string reason = std::string(to_string(event.step)) + " failed: " + event.reason;
  switch (event.step) {
    case Step::start_vm:
      if (m.view_.state == State::starting) leave(reason);
      return;
    case Step::prepare_standby:
      if (m.view_.role != Role::secondary) return;
      send(MessageType::refused, 0, event.reason);
      leave(reason);
      return;
    case Step::live_sync:
    case Step::pause_primary:
    case Step::stream_image:
      if (m.view_.role != Role::primary || m.phase_ == Phase::idle) return;
      if (event.resynchronise) m.protect_again_ = true;
      lose_secondary(reason);
      return;
    case Step::receive_image:
      // The primary ends the protection when it is told; until then this side can still take over as it was.
      if (m.view_.role != Role::secondary || !expects_image()) return;
      out.emplace_back(StopStreams{});
      // Before the first image it has no state to run in; one that rests is woken only to take over.
      if (m.committed_epoch_ != 0 && !m.view_.svm_rests) out.emplace_back(ResumeSvm{});
      enter(Phase::broken);
      send(MessageType::secondary_gone, 0, reason);
      return;
    case Step::stop_svm:
    case Step::apply_image:
      if (m.view_.role != Role::secondary) return;
      send(MessageType::secondary_gone, 0, reason);
      leave(reason);
      return;
  }
}

void Machine::Handler::on(const Tick& /*event*/) {
  if (m.ask_again_ns_ && now >= *m.ask_again_ns_) {
    m.ask_again_ns_.reset();
    pose();
  }
  if (m.phase_deadline_ && now >= *m.phase_deadline_) {
    m.phase_deadline_.reset();
    peer_lost(m.config_.peer + " did not answer in time");
  }
  const bool watching = m.view_.state == State::guarded || m.view_.state == State::syncing;
  if (watching && now - m.last_heard_ns_ >= m.config_.peer_timeout_ns) peer_lost("no heartbeat from " + m.config_.peer);
  protect_again_if_due();
  checkpoint_if_due();
}

void Machine::Handler::journal(std::string text) {
  out.emplace_back(Journal{std::move(text)});
}

void Machine::Handler::send(MessageType type, std::uint32_t epoch, std::string text) {
  out.emplace_back(Send{Message{type, m.view_.record.generation, m.pairing_, epoch, std::move(text)}});
}

void Machine::Handler::enter(Phase phase, std::optional<Nanos> timeout_ns) {
  m.phase_ = phase;
  m.phase_deadline_.reset();
  if (timeout_ns) m.phase_deadline_ = now + *timeout_ns;
}

void Machine::Handler::note_loss(const std::string& reason) {
  m.view_.peer_lost_at_ns = now;
  m.view_.detect_ns = now - m.last_heard_ns_;
  m.view_.last_reason = reason;
  journal(reason);
}

void Machine::Handler::peer_lost(const std::string& reason) {
  if (m.view_.role == Role::primary) {
    lose_secondary(reason);
  } else if (m.view_.role == Role::secondary) {
    decide(reason, m.config_.promote_delay_ns);
  }
}

void Machine::Handler::reset_protection() {
  enter(Phase::idle);
  m.registered_ = false;
  m.output_held_ = false;
  m.peer_lost_ = false;
  m.svm_ran_early_ = false;
  m.next_rests_ = false;
  m.view_.svm_rests = false;
  m.diverged_early_.reset();
  m.committed_epoch_ = 0;
  m.early_request_.reset();
  m.promote_granted_ = false;
}

void Machine::Handler::leave(const std::string& reason) {
  out.emplace_back(ShutGate{});
  out.emplace_back(StopStreams{});
  out.emplace_back(KillVm{});
  reset_protection();
  forget_question();
  forget_retries();
  m.view_.role = Role::none;
  m.view_.state = State::absent;
  m.view_.last_reason = reason;
  journal("doesn't run here any more: " + reason);
}

const char* to_string(MessageType type) {
  switch (type) {
    case MessageType::prepare:
      return "prepare";
    case MessageType::prepared:
      return "prepared";
    case MessageType::refused:
      return "refused";
    case MessageType::checkpoint_request:
      return "checkpoint_request";
    case MessageType::svm_stopped:
      return "svm_stopped";
    case MessageType::committed:
      return "committed";
    case MessageType::svm_running:
      return "svm_running";
    case MessageType::registered:
      return "registered";
    case MessageType::primary_gone:
      return "primary_gone";
    case MessageType::secondary_gone:
      return "secondary_gone";
    case MessageType::abort:
      return "abort";
    case MessageType::failover_request:
      return "failover_request";
    case MessageType::taken_over:
      return "taken_over";
    case MessageType::rest_request:
      return "rest_request";
  }
  return "unknown";
}

const char* to_string(Step step) {
  switch (step) {
    case Step::start_vm:
      return "starting the VM";
    case Step::prepare_standby:
      return "preparing the secondary";
    case Step::live_sync:
      return "the first synchronisation";
    case Step::pause_primary:
      return "pausing the primary";
    case Step::stream_image:
      return "sending the checkpoint";
    case Step::stop_svm:
      return "stopping the secondary";
    case Step::receive_image:
      return "receiving the checkpoint";
    case Step::apply_image:
      return "loading the checkpoint";
  }
  return "unknown";
}

const char* to_string(Role role) {
  switch (role) {
    case Role::none:
      return "none";
    case Role::primary:
      return "primary";
    case Role::secondary:
      return "secondary";
  }
  return "unknown";
}

const char* to_string(State state) {
  switch (state) {
    case State::absent:
      return "absent";
    case State::starting:
      return "starting";
    case State::solo:
      return "solo";
    case State::syncing:
      return "syncing";
    case State::guarded:
      return "protected";
    case State::fenced:
      return "fenced";
  }
  return "unknown";
}

}  // namespace twinstep::session
