// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "core/session/machine.hpp"

namespace twinstep::session {

/// One step of the machine: the event's moment and where its effects go. Internal to core/session.
struct Machine::Handler {
  Machine& m;
  Nanos now;
  Effects& out;

  void on(const Boot& event);
  void on(const OpProtect& event);
  void on(const OpFailover& event);
  void on(const OpCancel& event);
  void on(const OpMode& event);
  void on(const PeerConnected& event);
  void on(const PeerDisconnected& event);
  void on(const PeerHeard& event);
  void on(const MessageReceived& event);
  void on(const VmStarted& event);
  void on(const VmDied& event);
  void on(const LiveSyncDone& event);
  void on(const PauseDone& event);
  void on(const SvmStopDone& event);
  void on(const ImageReceived& event);
  void on(const ApplyDone& event);
  void on(const StepFailed& event);
  void on(const ArbiterAnswered& event);
  void on(const Diverged& event);
  void on(const Tick& event);

  // Common (machine.cpp)
  void journal(std::string text);
  void send(MessageType type, std::uint32_t epoch = 0, std::string text = {});
  void enter(Phase phase, std::optional<Nanos> timeout_ns = {});
  void peer_lost(const std::string& reason);
  void note_loss(const std::string& reason);
  void leave(const std::string& reason);
  void reset_protection();

  // Arbiter (arbitration.cpp)
  void ask(Question question, std::optional<Record> expected, Record desired);
  void read_arbiter(Question question, Nanos delay_ns);
  void pose();
  void forget_question();
  void granted(Question question);
  void refused(Question question, const std::optional<Record>& record);
  void start_by_record(const std::optional<Record>& record);
  void promote_by_record(const std::optional<Record>& record);

  // Primary (primary.cpp)
  void primary_message(const Message& message);
  void begin_protection();
  void protect_again_if_due();
  void protect_again_later();
  void forget_retries();
  void begin_checkpoint(checkpoint::Cause cause);
  void checkpoint_if_due();
  void committed();
  void pause(bool svm_ran);
  void begin_next_epoch();
  void lose_secondary(const std::string& reason);
  void stay_solo(const std::string& reason);
  void run_solo(const std::string& reason);
  void claim_solo();
  void hand_over(const std::string& reason);

  // Secondary (secondary.cpp)
  void secondary_message(const Message& message);
  void stop_for(const Message& request);
  bool expects_image() const;
  void accept_prepare(const Message& message);
  void decide(const std::string& reason, Nanos delay_ns);
  void revive();
  void take_over_when_whole();
  void take_over();
  void give_up(const std::string& reason);
};

}  // namespace twinstep::session
