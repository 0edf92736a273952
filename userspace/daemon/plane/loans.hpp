// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <unordered_map>

#include "core/compare/comparer.hpp"
#include "daemon/plane/port.hpp"

struct ts_match_flow;

namespace twinstep::daemon {

/// The VM's connections that the XDP programs compare by themselves: carries them between the comparison and the table
/// that is shared with the programs. The plane's thread only.
class Loans {
 public:
  explicit Loans(Port& port) : port_(port) {}

  /// Lends what the comparison offers.
  void lend_offers(compare::Comparer& comparer, Nanos now);
  /// The PVM sent a frame of this flow that came here: what the programs know of it goes to the comparison first.
  void on_frame(compare::Comparer& comparer, compare::FlowId flow, Nanos now);
  /// A record is about to be given to the comparison: one that the programs can't take in ends the loan.
  void on_record(compare::Comparer& comparer, const ts_record& record, Nanos now);
  /// Everything is the comparison's again, and the programs find nothing any more.
  void take_all(compare::Comparer& comparer, Nanos now);

  /// What the programs let out of connections that they have now.
  struct Progress {
    std::uint64_t flows = 0;
    std::uint64_t frames = 0;
    std::uint64_t bytes = 0;
  };
  Progress progress() const;

 private:
  struct Loan {
    std::uint32_t place = 0;
    bool lent = false;
  };
  void lend(compare::Comparer& comparer, compare::FlowId flow, Nanos now);
  void take_back(compare::Comparer& comparer, compare::FlowId flow, Loan& loan, Nanos now);

  Port& port_;
  std::unordered_map<compare::FlowId, Loan> loans_;  // with a place in the table, lent or not
};

}  // namespace twinstep::daemon
