// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <optional>
#include <vector>

#include "core/compare/comparer.hpp"
#include "daemon/plane/link_sender.hpp"
#include "daemon/plane/loans.hpp"
#include "daemon/plane/port.hpp"
#include "daemon/plane/sequence_window.hpp"
#include "daemon/plane/translator.hpp"

namespace twinstep::daemon {

/// What the plane does as a VM's primary: hands the PVM's frames to the comparison, carries out what it decides, and
/// keeps clients' frames while the PVM stands still.
class PrimarySide {
 public:
  PrimarySide(Port& port, LinkSender& sender, Translator& translator, const PlaneConfig& config,
              OnDiverged on_diverged);

  ~PrimarySide() { take_back_loans(); }
  PrimarySide(const PrimarySide&) = delete;
  PrimarySide& operator=(const PrimarySide&) = delete;

  void pair(const compare::DigestKey& key);

  /// A frame of the PVM.
  void on_output(io::XskSocket::Frame frame, Nanos now);
  /// A frame of records from the other host.
  void on_records(std::span<const std::byte> frame, Nanos now);
  /// A client's frame that the uplink program handed over because the gate is shut.
  void on_gated(std::span<const std::byte> frame);
  /// A frame for the VM that no program has delivered: for both VMs, at once or when the PVM continues.
  void on_input(std::span<const std::byte> frame);
  void on_tick(Nanos now);
  /// Leaves connections to the XDP programs that they can go on with. When no frame of the PVM waits to be given to
  /// on_output(): the programs would see a gap.
  void lend(Nanos now);
  /// Sends what earlier calls decided. Once after each batch.
  void flush();

  /// Takes what the PVM has not consumed: both VMs get it when they continue, before anything newer.
  void keep_unread(const io::Tap& tap);
  std::vector<compare::FlowBase> begin_epoch(std::uint32_t epoch, bool svm_rests, const io::Tap& tap, Nanos now);
  void resume_input();
  void commit(std::uint32_t epoch);
  void release_all();
  std::size_t discard();
  /// Gives what is buffered to the VM alone.
  void deliver_input();

  /// Of the comparison, with what the XDP programs let out by themselves. Only after pair().
  compare::Stats stats() const;
  /// Nothing before the first pairing.
  compare::Comparer* comparer() { return comparer_ ? &*comparer_ : nullptr; }
  const compare::Comparer* comparer() const { return comparer_ ? &*comparer_ : nullptr; }
  std::uint64_t inbound_dropped() const { return inbound_dropped_; }
  std::uint64_t record_frames_lost() const;

 private:
  static constexpr std::uint32_t kNoLane = ~std::uint32_t{0};
  /// What belongs to a held frame.
  struct Held {
    std::uint32_t length = 0;
    OutboundShift shift;
    std::uint32_t lane = kNoLane;  // see io::Lanes
    std::uint32_t epoch = 0;
  };

  void carry_out();
  void tell_of_output(std::uint64_t held_before);
  void run(const compare::Release& release);
  void run(const compare::Drop& drop);
  void run(const compare::SendFrame& frame);
  void run(const compare::SetDelta& delta);
  void run(const compare::Diverged& diverged);
  void take_back_loans();
  void leave(const Held& held);
  std::uint64_t twins() const { return port_.counters().count[TS_COUNT_TAP_TWIN] - twins_before_; }

  Port& port_;
  LinkSender& sender_;
  Translator& translator_;
  compare::Limits limits_;
  std::size_t inbound_frames_max_;
  OnDiverged on_diverged_;

  std::optional<compare::DigestKey> key_;
  std::optional<compare::Comparer> comparer_;
  Loans loans_{port_};
  compare::Effects effects_;
  std::vector<Held> held_;  // by chunk
  std::deque<std::vector<std::byte>> inbound_;
  std::optional<std::uint32_t> diverged_epoch_;
  bool tell_of_output_ = false;         // the SVM rests, and this epoch's first held frame has not come yet
  std::vector<std::uint32_t> leaving_;  // lanes of frames that are sent and not yet gone
  std::uint64_t twins_before_ = 0;      // let out by the XDP programs when counting began
  SequenceWindow record_sequence_;
  std::uint64_t record_frames_kept_ = 0;  // by the XDP programs, when counting began
  std::uint64_t inbound_dropped_ = 0;
};

}  // namespace twinstep::daemon
