// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <optional>
#include <string>
#include <utility>

#include "core/session/machine.hpp"

namespace twinstep::session {

using failover::ArbiterReply;

/// Drives one machine and keeps the effects of the latest step.
class MachineTest : public ::testing::Test {
 protected:
  static Config config(const char* self, const char* peer) {
    Config c;
    c.self = self;
    c.peer = peer;
    c.home = std::string(self) == "a";
    return c;
  }

  const Effects& give(const Event& event) {
    effects_ = machine_.step(event, now_);
    return effects_;
  }
  const Effects& answer(ArbiterReply::Status status, std::optional<Record> record) {
    return give(ArbiterAnswered{{status, std::move(record)}});
  }
  const Effects& hear(MessageType type, std::uint32_t epoch = 0) {
    return give(MessageReceived{Message{type, 7, pairing_, epoch, "why"}});
  }
  template <typename T>
  const T* find() const {
    const auto it =
        std::find_if(effects_.begin(), effects_.end(), [](const Effect& e) { return std::holds_alternative<T>(e); });
    return it == effects_.end() ? nullptr : &std::get<T>(*it);
  }
  bool sent(MessageType type) const {
    return std::any_of(effects_.begin(), effects_.end(), [type](const Effect& e) {
      const auto* send = std::get_if<Send>(&e);
      return send != nullptr && send->message.type == type;
    });
  }

  void start_solo() {
    give(Boot{true, {}});
    answer(ArbiterReply::Status::ok, Record{1, "a", ""});
    give(VmStarted{});
    give(PeerConnected{});
  }
  void protect_until_committed() {
    start_solo();
    give(OpProtect{1});
    hear(MessageType::prepared);
    give(LiveSyncDone{});
    hear(MessageType::svm_stopped, 1);
    give(PauseDone{1});
    hear(MessageType::committed, 1);
  }
  void protect() {
    protect_until_committed();
    answer(ArbiterReply::Status::ok, Record{2, "a", "b"});
    hear(MessageType::svm_running, 1);
  }

  Machine machine_{config("a", "b")};
  Nanos now_ = kSecond;
  std::uint32_t pairing_ = 1;
  Effects effects_;
};

class SecondaryTest : public MachineTest {
 protected:
  SecondaryTest() { machine_ = Machine(config("b", "a")); }
  /// Up to where the first image is on its way.
  void expect_image() {
    give(Boot{true, Record{1, "a", ""}});
    give(PeerConnected{});
    hear(MessageType::prepare);
    give(VmStarted{});
    hear(MessageType::checkpoint_request, 1);
    give(SvmStopDone{1});
  }
  void stand_by() {
    expect_image();
    give(ImageReceived{1});
    give(ApplyDone{1});
    hear(MessageType::registered, 1);
  }
  const Record protected_{2, "a", "b"};
  const Record ours_{3, "b", ""};
};

}  // namespace twinstep::session
