// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <vector>

#include "checkers.hpp"
#include "context.hpp"
#include "core/compare/comparer.hpp"
#include "core/compare/svm_tracker.hpp"
#include "link.hpp"
#include "vm.hpp"

namespace twinstep::sim {

/// What a plane needs of its surroundings.
struct PlanePorts {
  std::function<void(const Packet&)> to_client;
  std::function<void(const RawFrame&)> to_link;
  std::function<void(std::uint32_t epoch, compare::Cause cause)> diverged;
  std::function<failover::Record()> record;  ///< the arbiter's, as the checkers see it
};

/// One host's packet plane for one VM: the steps of the XDP programs and of the daemon's forwarding, with the product's
/// own Comparer and SvmTracker in the middle.
class Plane {
 public:
  Plane(Context& context, Checkers& checkers, HostIndex host, PlanePorts ports);

  void attach(std::shared_ptr<Vm> vm) { vm_ = std::move(vm); }

  // What arrives.
  void vm_sent(const Packet& packet);
  void uplink_received(const Packet& packet);
  void link_received(const RawFrame& frame);

  // What the session machine orders, primary.
  void open();
  void gate_input() { input_gated_ = true; }
  void ungate_input();
  std::vector<compare::FlowBase> begin_epoch(std::uint32_t epoch, ImageId image, bool svm_rests);
  void commit(std::uint32_t epoch);
  void compare_from(std::uint32_t epoch, Nanos hold_ns);
  void release_all();
  void shut();
  const Translations& translations() const { return translations_; }

  // Secondary.
  void standby();
  void standby_stop(std::uint32_t epoch);
  void standby_start(const Image& image);
  void standby_resume();
  void standby_wake(const Image& image);
  void take_over();

 private:
  enum class Gate : std::uint8_t { closed, direct, hold, standby };
  struct Held {
    Packet packet;
    Bytes bytes;
    ImageId image = 0;
    std::uint32_t seq_delta = 0;  ///< to be subtracted on its way out
  };
  /// What the secondary knows of the flows in one epoch.
  struct Standing {
    std::uint32_t epoch = 0;
    std::map<FlowKey, ts_flow_state> flows;
  };

  void hold(const Packet& packet);
  void produce(const Packet& packet);
  void speak(Packet packet);
  void leave(Packet packet, std::uint32_t seq_delta);
  void deliver_inbound(Packet packet);
  void note_opening(const Packet& packet);
  std::uint32_t translation_out(const Packet& packet);
  void translate_in(Packet& packet);
  void carry_over_flows();
  void receive(const Mirrored& frame);
  void receive(const SvmRecord& frame);
  void receive(const FlowDelta& frame);
  void receive(const Heartbeat&) {}
  void compare(const ts_record& record, std::uint32_t epoch);
  void carry_out(const compare::Effects& effects);
  void carry_out(const compare::Release& release);
  void carry_out(const compare::Drop& drop);
  void carry_out(const compare::SendFrame& send);
  void carry_out(const compare::SetDelta& delta);
  void carry_out(const compare::Diverged& diverged);
  void schedule_tick();
  void tick();
  void forget_comparison();
  void keep_old_records();

  Context& context_;
  Checkers& checkers_;
  HostIndex host_;
  PlanePorts ports_;
  std::shared_ptr<Vm> vm_;
  Gate gate_ = Gate::closed;

  // Primary
  std::optional<compare::Comparer> comparer_;
  std::map<compare::FrameId, Held> held_;
  compare::FrameId next_id_ = 1;
  ImageId image_ = 0;
  std::uint32_t epoch_ = 0;
  bool input_gated_ = false;
  bool tell_of_output_ = false;  // the SVM rests, and no frame was held in this epoch yet
  bool rested_ = false;          // in this epoch or an earlier one
  std::deque<Packet> gated_;
  std::vector<ts_record> epoch_records_;  // kept for Planted::keep_old_digests only
  std::optional<Nanos> tick_at_;
  const std::shared_ptr<char> life_ = std::make_shared<char>();  // a tick outlives a plane whose host boots anew
  std::uint64_t comparison_ = 0;                                 // a tick of an earlier comparison is void

  // Secondary
  std::optional<compare::SvmTracker> tracker_;
  Standing standing_;
  Standing before_;  // the epoch that standby_resume() goes back to
  Translations translations_loaded_;
  std::map<FlowKey, std::uint32_t> client_acks_;  // in the PVM's numbering
  std::deque<Packet> latest_;                     // the SVM's output, for the replay

  Translations translations_;  // of flows that outlived a failover
};

}  // namespace twinstep::sim
