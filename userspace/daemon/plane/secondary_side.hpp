// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <vector>

#include "core/compare/svm_tracker.hpp"
#include "daemon/plane/link_sender.hpp"
#include "daemon/plane/port.hpp"
#include "daemon/plane/translator.hpp"

namespace twinstep::daemon {

/// What the plane does as a VM's secondary: tells the primary what the SVM sends, keeps the latest of it, and at a
/// failover sends the clients what they may lack.
class SecondarySide {
 public:
  SecondarySide(Port& port, LinkSender& sender, Translator& translator, const PlaneConfig& config);

  void pair(const compare::DigestKey& key);
  /// Makes room for what the programs note of the VM's connections; epochs of an earlier pairing mean nothing any more.
  Result<void> stand_by();
  void on_output(io::XskSocket::Frame frame);

  void begin_epoch(std::uint32_t epoch, const EpochFlows& flows);
  /// The epoch whose state the SVM runs from.
  std::uint32_t epoch() const { return tracker_ ? tracker_->epoch() : 0; }

  /// Enters how the surviving connections' numbers are to be translated (rule 10).
  FailoverStats carry_over_flows(Nanos now);
  /// Sends what the clients may lack. Returns the number of frames.
  std::size_t replay();
  /// Drops the ring.
  void forget();
  std::size_t ring_frames() const { return ring_.size(); }

 private:
  /// A connection after the failover, for the replay.
  struct Survivor {
    std::optional<std::uint32_t> client_has;  ///< the client acknowledged the SVM's stream up to here
    OutboundShift shift;
    std::optional<std::uint32_t> tsval;  ///< what replayed segments say, so that PAWS (RFC 7323, 5) lets them in
  };
  bool client_may_lack(const compare::Frame& frame) const;
  void send(io::XskSocket::Frame frame, const compare::Frame& parsed);

  Port& port_;
  LinkSender& sender_;
  Translator& translator_;
  compare::SvmTracker::Limits tracker_limits_;
  std::size_t ring_frames_max_;
  std::optional<compare::DigestKey> key_;
  std::optional<compare::SvmTracker> tracker_;
  std::vector<compare::FlowTranslation> before_;  // of the PVM, at the epoch's start
  std::deque<io::XskSocket::Frame> ring_;
  std::map<compare::FlowKey, Survivor> survivors_;
};

}  // namespace twinstep::daemon
