// SPDX-License-Identifier: Apache-2.0
//
// Who may speak: questions to the arbiter and what their answers mean. A question is repeated until it is answered, as
// a swap whose answer was lost may have happened; finding the desired record in force counts as success.
#include <utility>

#include "core/session/handler.hpp"

namespace twinstep::session {

void Machine::Handler::ask(Question question, std::optional<Record> expected, Record desired) {
  forget_question();
  m.question_ = question;
  m.swap_ = ArbiterSwap{std::move(expected), std::move(desired)};
  pose();
}

void Machine::Handler::read_arbiter(Question question, Nanos delay_ns) {
  forget_question();
  m.question_ = question;
  if (delay_ns > 0) {
    m.ask_again_ns_ = now + delay_ns;
  } else {
    pose();
  }
}

void Machine::Handler::forget_question() {
  m.answer_stale_ = m.question_open_;
  m.question_ = Question::none;
  m.ask_again_ns_.reset();
}

void Machine::Handler::pose() {
  if (m.question_ == Question::none || m.question_open_) return;
  m.question_open_ = true;
  if (m.question_ == Question::promote_read || m.question_ == Question::boot) {
    out.emplace_back(ArbiterRead{});
  } else {
    out.emplace_back(m.swap_);
  }
}

void Machine::Handler::on(const ArbiterAnswered& event) {
  if (!m.question_open_) return;
  m.question_open_ = false;
  if (std::exchange(m.answer_stale_, false)) {  // of a question that was given up; the one that followed waited for it
    if (!m.ask_again_ns_) pose();
    return;
  }
  if (event.reply.status == ArbiterReply::Status::unreachable) {
    m.ask_again_ns_ = now + m.config_.arbiter_retry_ns;
    return;
  }
  const Question question = std::exchange(m.question_, Question::none);
  if (question == Question::boot) {
    start_by_record(event.reply.record);
  } else if (question == Question::promote_read) {
    promote_by_record(event.reply.record);
  } else if (event.reply.record == m.swap_.desired) {
    m.view_.record = m.swap_.desired;
    granted(question);
  } else {
    refused(question, event.reply.record);
  }
}

void Machine::Handler::on(const Boot& event) {
  m.last_heard_ns_ = now;
  if (event.known) {
    start_by_record(event.record);
  } else {
    journal("the arbiter can't be asked yet");
    read_arbiter(Question::boot, m.config_.arbiter_retry_ns);
  }
}

void Machine::Handler::start_by_record(const std::optional<Record>& record) {
  if (m.view_.role != Role::none) return;  // a peer's prepare came first
  const bool fresh = !record && m.config_.home;
  const bool ours = record && record->primary == m.config_.self && record->secondary.empty();
  if (record) m.view_.record = *record;
  if (!fresh && !ours) {
    if (record && record->primary == m.config_.self)
      journal("not started: " + record->secondary + " may have taken it over");
    return;
  }
  m.view_.role = Role::primary;
  m.view_.state = State::starting;
  const std::uint64_t generation = record ? record->generation + 1 : 1;
  ask(fresh ? Question::create : Question::restart, record, Record{generation, m.config_.self, {}});
}

void Machine::Handler::granted(Question question) {
  switch (question) {
    case Question::create:
    case Question::restart:
      out.emplace_back(StartVm{});
      return;
    case Question::register_secondary:
      m.registered_ = true;
      m.protect_again_ = false;
      m.guarded_at_ns_ = now;
      m.view_.state = State::guarded;
      m.view_.last_reason = "protected by " + m.config_.peer;
      journal(m.view_.last_reason);
      out.emplace_back(CommitOutput{m.view_.epoch});
      send(MessageType::registered, m.view_.epoch);
      if (m.peer_lost_) {
        claim_solo();
      } else if (m.svm_ran_early_ || m.next_rests_) {
        begin_next_epoch();
      } else {
        enter(Phase::wait_running, m.config_.step_timeout_ns);
      }
      return;
    case Question::claim_solo:
      out.emplace_back(ReleaseAll{});
      m.view_.took_over_at_ns = now;
      run_solo(m.view_.last_reason);
      return;
    case Question::promote:
      take_over_when_whole();
      return;
    case Question::none:
    case Question::boot:
    case Question::promote_read:
      return;
  }
}

void Machine::Handler::refused(Question question, const std::optional<Record>& record) {
  if (record) m.view_.record = *record;
  const std::string owner = record ? record->primary : std::string("nobody");
  if (question == Question::promote) {
    promote_by_record(record);
  } else {
    leave("the arbiter names " + owner + " as owner");
  }
}

void Machine::Handler::promote_by_record(const std::optional<Record>& record) {
  if (record) m.view_.record = *record;
  if (record && record->primary == m.config_.peer && record->secondary == m.config_.self) {
    ask(Question::promote, record, Record{record->generation + 1, m.config_.self, {}});
  } else {
    give_up("the arbiter doesn't name this host as secondary");
  }
}

}  // namespace twinstep::session
