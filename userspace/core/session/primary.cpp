// SPDX-License-Identifier: Apache-2.0
//
// The primary's part: protecting, checkpoints, losing the secondary.
#include <algorithm>
#include <string>
#include <utility>

#include "core/session/handler.hpp"

namespace twinstep::session {

void Machine::Handler::on(const OpProtect& event) {
  const auto refuse = [&](std::string why) { out.emplace_back(Reply{event.op, std::move(why)}); };
  if (m.view_.role != Role::primary || m.view_.state != State::solo) {
    refuse(std::string("can't be protected from here: its state is ") + to_string(m.view_.state) + " (role " +
           to_string(m.view_.role) + "); ask the host that runs it solo");
    return;
  }
  if (!m.peer_connected_) {
    refuse("host " + m.config_.peer + " isn't connected; start twinstepd there and look at the link");
    return;
  }
  forget_retries();
  begin_protection();
  refuse({});
}

void Machine::Handler::begin_protection() {
  ++m.pairing_;
  reset_protection();
  m.view_.protects_again_at_ns.reset();
  m.view_.state = State::syncing;
  m.view_.epoch = 0;
  enter(Phase::preparing, m.config_.prepare_timeout_ns);
  send(MessageType::prepare);
}

// The first attempt is made at once, each further one after double the wait.
void Machine::Handler::protect_again_later() {
  if (m.guarded_at_ns_ != 0 && now - m.guarded_at_ns_ >= m.config_.retry_max_ns) m.view_.attempts = 0;
  m.guarded_at_ns_ = 0;
  Nanos wait_ns = 0;
  for (unsigned i = 0; i < m.view_.attempts && wait_ns < m.config_.retry_max_ns; ++i)
    wait_ns = std::clamp(2 * wait_ns, m.config_.retry_min_ns, m.config_.retry_max_ns);
  ++m.view_.attempts;
  m.view_.protects_again_at_ns = now + wait_ns;
  journal("is synchronised anew" + (wait_ns == 0 ? std::string()
                                                 : " in " + std::to_string(wait_ns / kMillisecond) + " ms, attempt " +
                                                       std::to_string(m.view_.attempts)));
  protect_again_if_due();
}

void Machine::Handler::protect_again_if_due() {
  if (m.view_.protects_again_at_ns && now >= *m.view_.protects_again_at_ns && m.peer_connected_) begin_protection();
}

void Machine::Handler::forget_retries() {
  m.protect_again_ = false;
  m.guarded_at_ns_ = 0;
  m.view_.attempts = 0;
  m.view_.protects_again_at_ns.reset();
}

void Machine::Handler::on(const OpFailover& event) {
  if (m.view_.state != State::guarded) {
    out.emplace_back(Reply{
        event.op, std::string("can't fail over: its state here is ") + to_string(m.view_.state) + ", not protected"});
    return;
  }
  out.emplace_back(Reply{event.op, {}});
  if (m.view_.role == Role::primary) {
    hand_over("an operator asked for a failover");
  } else {
    send(MessageType::failover_request);
  }
}

void Machine::Handler::on(const OpCancel& event) {
  if (m.view_.protects_again_at_ns) {
    forget_retries();
    journal("isn't synchronised anew: an operator cancelled it");
    out.emplace_back(Reply{event.op, {}});
    return;
  }
  const bool early = m.phase_ == Phase::preparing || m.phase_ == Phase::live_sync || m.phase_ == Phase::wait_svm_stop;
  if (m.view_.role != Role::primary || m.view_.state != State::syncing || !early) {
    out.emplace_back(Reply{
        event.op, std::string("has no synchronisation to cancel here: its state is ") + to_string(m.view_.state)});
    return;
  }
  out.emplace_back(Reply{event.op, {}});
  forget_retries();
  stay_solo("an operator cancelled the synchronisation");
}

void Machine::Handler::on(const OpMode& event) {
  m.policy_.set_mode(event.mode);
  journal(std::string("mode ") + checkpoint::to_string(event.mode));
  out.emplace_back(Reply{event.op, {}});
  checkpoint_if_due();
}

void Machine::Handler::primary_message(const Message& message) {
  switch (message.type) {
    case MessageType::prepared:
      if (m.phase_ != Phase::preparing) return;
      enter(Phase::live_sync);
      out.emplace_back(LiveSync{});
      return;
    case MessageType::refused:
      if (m.phase_ == Phase::preparing) stay_solo(m.config_.peer + " refused: " + message.text);
      return;
    case MessageType::svm_stopped:
      if (m.phase_ != Phase::wait_svm_stop || message.epoch != m.view_.epoch + 1) return;
      pause(true);
      return;
    case MessageType::committed:
      if (m.phase_ == Phase::wait_commit && message.epoch == m.view_.epoch) committed();
      return;
    case MessageType::svm_running:
      if (message.epoch != m.view_.epoch) return;
      if (m.phase_ == Phase::registering) m.svm_ran_early_ = true;
      if (m.phase_ == Phase::wait_running) begin_next_epoch();
      return;
    case MessageType::secondary_gone:
      lose_secondary(m.config_.peer + ": " + message.text);
      return;
    case MessageType::failover_request:
      if (m.view_.state == State::guarded) hand_over("an operator at " + m.config_.peer + " asked for a failover");
      return;
    case MessageType::taken_over:
      leave(m.config_.peer + " has taken over");
      return;
    case MessageType::prepare:
    case MessageType::checkpoint_request:
    case MessageType::rest_request:
    case MessageType::registered:
    case MessageType::primary_gone:
    case MessageType::abort:
      return;  // a primary says these, it isn't told them
  }
}

void Machine::Handler::on(const LiveSyncDone& /*event*/) {
  if (m.view_.role == Role::primary && m.phase_ == Phase::live_sync) begin_checkpoint(checkpoint::Cause::initial);
}

void Machine::Handler::begin_checkpoint(checkpoint::Cause cause) {
  m.cause_ = cause;
  m.requested_at_ns_ = now;
  m.next_rests_ = !m.policy_.on_checkpoint_begun(cause, now);
  if (m.next_rests_ != m.view_.svm_rests)
    journal((m.next_rests_ ? "the secondary rests: " : "output is compared again: ") + m.policy_.reason());
  if (m.view_.svm_rests && m.next_rests_) {
    pause(false);  // nothing to stop over there
    return;
  }
  enter(Phase::wait_svm_stop, m.config_.step_timeout_ns);
  send(m.next_rests_ ? MessageType::rest_request : MessageType::checkpoint_request, m.view_.epoch + 1);
}

void Machine::Handler::pause(bool svm_ran) {
  enter(Phase::pausing);
  m.output_held_ = true;
  out.emplace_back(PausePrimary{m.view_.epoch + 1, svm_ran, m.next_rests_});
}

void Machine::Handler::checkpoint_if_due() {
  if (m.view_.role != Role::primary || m.view_.state != State::guarded || m.phase_ != Phase::idle) return;
  if (const auto cause = m.policy_.due(now)) begin_checkpoint(*cause);
}

void Machine::Handler::on(const Diverged& event) {
  if (m.view_.role != Role::primary) return;
  if (m.phase_ != Phase::idle) {
    // Perhaps of the epoch whose PauseDone is still on its way. Each NIC tells for itself: what only says that output
    // waits, or is of the epoch before, takes nobody's place.
    const auto& known = m.diverged_early_;
    const bool adds =
        !known || event.epoch > known->epoch || (event.epoch == known->epoch && known->cause == compare::Cause::output);
    if (adds) m.diverged_early_ = event;
  } else if (event.epoch == m.view_.epoch) {
    m.policy_.on_diverged(event.cause, now);
    checkpoint_if_due();
  }
}

void Machine::Handler::on(const PauseDone& event) {
  if (m.view_.role != Role::primary || m.phase_ != Phase::pausing) return;
  m.view_.epoch = event.epoch;
  m.policy_.on_pause_done(now);
  enter(Phase::wait_commit, m.config_.commit_timeout_ns);
  out.emplace_back(StreamImage{event.epoch});
}

void Machine::Handler::committed() {
  if (m.registered_) {
    out.emplace_back(CommitOutput{m.view_.epoch});
    if (m.next_rests_) {
      begin_next_epoch();
    } else {
      enter(Phase::wait_running, m.config_.step_timeout_ns);
    }
    return;
  }
  // The secondary may promote itself from here on, so the arbiter has to know it before the first output leaves.
  enter(Phase::registering);
  const Record& record = m.view_.record;
  ask(Question::register_secondary, record, Record{record.generation + 1, m.config_.self, m.config_.peer});
}

void Machine::Handler::begin_next_epoch() {
  enter(Phase::idle);
  m.svm_ran_early_ = false;
  ++m.view_.checkpoints;
  ++m.view_.checkpoints_by_cause[checkpoint::to_string(m.cause_)];
  m.policy_.on_checkpoint_done(m.cause_, m.requested_at_ns_, now);
  m.policy_.on_epoch_started(!m.next_rests_, now);
  m.view_.svm_rests = m.next_rests_;
  if (!m.next_rests_) out.emplace_back(CompareFrom{m.view_.epoch, m.policy_.hold_ns()});
  const auto early = std::exchange(m.diverged_early_, std::nullopt);
  if (early && early->epoch == m.view_.epoch) m.policy_.on_diverged(early->cause, now);
  checkpoint_if_due();
}

void Machine::Handler::lose_secondary(const std::string& reason) {
  if (m.view_.state != State::syncing && m.view_.state != State::guarded) return;
  if (m.phase_ == Phase::registering) {
    m.peer_lost_ = true;  // whether the secondary may promote itself is being decided: the answer comes first
    m.view_.last_reason = reason;
    return;
  }
  note_loss(reason);
  if (m.registered_) {
    claim_solo();
  } else {
    stay_solo(reason);
  }
}

void Machine::Handler::stay_solo(const std::string& reason) {
  out.emplace_back(StopStreams{});
  if (m.output_held_) out.emplace_back(ReleaseAll{});
  run_solo(reason);
}

// The gate is open.
void Machine::Handler::run_solo(const std::string& reason) {
  reset_protection();
  m.view_.state = State::solo;
  m.view_.last_reason = reason;
  send(MessageType::abort, 0, reason);
  journal("runs unprotected: " + reason);
  if (m.protect_again_) protect_again_later();
}

void Machine::Handler::claim_solo() {
  out.emplace_back(StopStreams{});
  enter(Phase::idle);
  m.view_.state = State::fenced;
  const Record& record = m.view_.record;
  ask(Question::claim_solo, record, Record{record.generation + 1, m.config_.self, {}});
}

void Machine::Handler::hand_over(const std::string& reason) {
  // Nothing that is still held may leave once the secondary has been told.
  leave(reason);
  send(MessageType::primary_gone, 0, reason);
}

}  // namespace twinstep::session
