// SPDX-License-Identifier: Apache-2.0
//
// The secondary's part: being made, checkpoints, taking over.
#include <utility>

#include "core/session/handler.hpp"

namespace twinstep::session {

void Machine::Handler::accept_prepare(const Message& message) {
  const bool busy = m.view_.role == Role::primary || m.view_.state == State::fenced;
  if (busy) {
    out.emplace_back(
        Send{Message{MessageType::refused, m.view_.record.generation, message.pairing, 0,
                     std::string("it is ") + to_string(m.view_.state) + " here as " + to_string(m.view_.role)}});
    return;
  }
  if (m.view_.role == Role::secondary) leave("the primary starts over");
  m.pairing_ = message.pairing;
  m.view_.role = Role::secondary;
  m.view_.state = State::starting;
  m.view_.epoch = 0;
  m.view_.record = Record{message.generation, m.config_.peer, {}};
  enter(Phase::preparing);
  out.emplace_back(PrepareStandby{});
}

void Machine::Handler::secondary_message(const Message& message) {
  switch (message.type) {
    case MessageType::checkpoint_request:
    case MessageType::rest_request:
      stop_for(message);
      return;
    case MessageType::registered:
      if (m.view_.state != State::syncing) return;
      m.view_.state = State::guarded;
      m.view_.record = Record{message.generation, m.config_.peer, m.config_.self};
      m.view_.last_reason = "protects " + m.config_.peer;
      journal("could take over from " + m.config_.peer + " now");
      return;
    case MessageType::primary_gone:
      decide(m.config_.peer + ": " + message.text, 0);
      return;
    case MessageType::abort:
      leave(m.config_.peer + " ended the protection: " + message.text);
      return;
    case MessageType::prepare:
    case MessageType::prepared:
    case MessageType::refused:
    case MessageType::svm_stopped:
    case MessageType::committed:
    case MessageType::svm_running:
    case MessageType::secondary_gone:
    case MessageType::failover_request:
    case MessageType::taken_over:
      return;  // a secondary says these, it isn't told them
  }
}

void Machine::Handler::stop_for(const Message& request) {
  if (m.view_.state == State::fenced || m.view_.state == State::starting) return;
  if (m.phase_ == Phase::applying) {  // a primary doesn't wait for that while the SVM rests
    m.early_request_ = request;
    return;
  }
  if (m.phase_ != Phase::idle) return;
  m.rest_asked_ = request.type == MessageType::rest_request;
  enter(Phase::stopping);
  out.emplace_back(StopSvm{request.epoch});
}

void Machine::Handler::on(const SvmStopDone& event) {
  if (m.view_.role != Role::secondary || m.phase_ != Phase::stopping) return;
  if (m.view_.state == State::fenced) {  // the primary was lost meanwhile: go on as before
    revive();
    if (m.phase_ == Phase::idle && m.promote_granted_) take_over();
    return;
  }
  enter(Phase::receiving);
  send(MessageType::svm_stopped, event.epoch);
}

void Machine::Handler::on(const ImageReceived& event) {
  if (m.view_.role != Role::secondary || !expects_image()) return;
  if (m.phase_ == Phase::receiving) m.view_.svm_rests = m.rest_asked_;
  m.committed_epoch_ = event.epoch;
  m.view_.epoch = event.epoch;
  enter(Phase::applying);
  send(MessageType::committed, event.epoch);
  out.emplace_back(ApplyImage{event.epoch, m.view_.svm_rests});
}

/// While the SVM rests, images come unasked.
bool Machine::Handler::expects_image() const {
  const bool unasked = m.phase_ == Phase::idle && m.view_.svm_rests && m.view_.state != State::fenced;
  return m.phase_ == Phase::receiving || unasked;
}

void Machine::Handler::on(const ApplyDone& event) {
  if (m.view_.role != Role::secondary || m.phase_ != Phase::applying) return;
  enter(Phase::idle);
  ++m.view_.checkpoints;
  const auto early = std::exchange(m.early_request_, std::nullopt);
  if (m.view_.svm_rests) {
    if (m.view_.state == State::fenced) revive();
    if (early) stop_for(*early);
    return;
  }
  send(MessageType::svm_running, event.epoch);
  if (m.promote_granted_) take_over();
}

void Machine::Handler::decide(const std::string& reason, Nanos delay_ns) {
  if (m.view_.state == State::fenced) {
    if (delay_ns == 0 && m.ask_again_ns_ && m.question_ == Question::promote_read) m.ask_again_ns_ = now;
    return;
  }
  note_loss(reason);
  if (m.committed_epoch_ == 0) {
    give_up(reason);
    return;
  }
  const bool may_hold_a_part = expects_image();
  m.view_.state = State::fenced;
  if (may_hold_a_part) out.emplace_back(StopStreams{});  // never a mixture: what is incomplete is thrown away
  if (may_hold_a_part) revive();
  if (m.phase_ == Phase::broken && m.view_.svm_rests) revive();
  if (m.phase_ == Phase::broken) enter(Phase::idle);
  read_arbiter(Question::promote_read, delay_ns);
}

/// The SVM that was stopped, or rests, runs again in the latest whole state.
void Machine::Handler::revive() {
  if (m.view_.svm_rests) {
    m.view_.svm_rests = false;
    enter(Phase::applying);
    out.emplace_back(WakeSvm{m.committed_epoch_});
  } else {
    out.emplace_back(ResumeSvm{});
    enter(Phase::idle);
  }
}

void Machine::Handler::take_over_when_whole() {
  if (m.phase_ == Phase::idle) {
    take_over();
  } else {
    m.promote_granted_ = true;  // ApplyDone or SvmStopDone is on its way
  }
}

void Machine::Handler::take_over() {
  const std::string reason = m.view_.last_reason;
  reset_protection();
  m.view_.role = Role::primary;
  m.view_.state = State::solo;
  m.view_.took_over_at_ns = now;
  out.emplace_back(TakeOver{});
  send(MessageType::taken_over);
  journal("took over, runs unprotected: " + reason);
}

void Machine::Handler::give_up(const std::string& reason) {
  send(MessageType::secondary_gone, 0, reason);
  leave(reason);
}

}  // namespace twinstep::session
