// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <vector>

#include "core/compare/connection.hpp"

namespace twinstep::compare {

/// The connections that use one pair of addresses and ports, and so one number, oldest first: usually one, several when
/// a port is used again before both VMs are done with the old connection. Each VM is at one of them.
class Flow {
 public:
  Flow() { connections_.emplace_back(FlowKey{}); }

  /// Whose flow it is, which the SVM's records don't say. False: another flow has this number already.
  bool take(const FlowKey& key);

  /// The connection that a frame of the PVM belongs to. nullptr: the VMs are too many connections apart.
  Connection* at_pvm(const TcpSegment& segment);
  /// Likewise for a record of the SVM.
  Connection* at_svm(const ts_record& record);

  /// Releases what may go; a later connection's frames wait for all of an earlier one's.
  void release(const Context& context, std::uint64_t arriving, Effects& out);
  void update_window(const Context& context, Effects& out);

  /// See Connection::may_lend.
  bool may_lend() const { return !lent && connections_.size() == 1 && connections_.front().may_lend(); }
  bool holds() const;
  std::size_t frames_held() const;
  /// The connection whose frames wait longest. Only if holds().
  const Connection& waiting() const;
  /// See Connection::begin_epoch.
  std::optional<FlowBase> begin_epoch(const Limits& limits, std::vector<HeldFrame>& closed);
  /// Takes away all that waits.
  void take_held(std::vector<HeldFrame>& held);

  /// Nothing before the PVM's first frame.
  const std::optional<FlowKey>& key() const { return key_; }
  /// For the journal.
  std::string name() const;
  const Connection& newest_of_pvm() const { return connections_[pvm_]; }
  Connection& newest_of_pvm() { return connections_[pvm_]; }
  /// The XDP programs have it.
  bool lent = false;
  /// In the list of flows that may be lent.
  bool offered = false;
  /// In the list of flows that may hold frames.
  bool listed = false;

 private:
  Connection* next(std::size_t& side);

  std::optional<FlowKey> key_;
  std::vector<Connection> connections_;
  std::size_t pvm_ = 0;
  std::size_t svm_ = 0;
};

}  // namespace twinstep::compare
