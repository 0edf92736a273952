// SPDX-License-Identifier: Apache-2.0
#include "daemon/plane/loans.hpp"

#include <utility>

#include "bpf/abi/twinstep_match.h"
#include "io/xdp/match_table.hpp"

namespace twinstep::daemon {
void Loans::lend_offers(compare::Comparer& comparer, Nanos now) {
  for (const compare::FlowId flow : comparer.take_offers()) lend(comparer, flow, now);
}

void Loans::lend(compare::Comparer& comparer, compare::FlowId flow, Nanos now) {
  auto& table = port_.programs().matches();
  const auto known = loans_.find(flow);
  if (known != loans_.end()) {
    if (known->second.lent) return;
    ts_match_flow& state = table.at(known->second.place);
    known->second.lent = comparer.lend(flow, state, false);
    if (known->second.lent) io::MatchTable::lend(state);
    return;
  }
  const auto place = table.take(now);
  if (!place) return;
  ts_match_flow& state = table.at(*place);
  const ts_match_key key{.flow_id = flow, .slot = port_.slot_number(), .reserved = 0};
  state.owner = TS_MATCH_USER;
  if (!comparer.lend(flow, state, true)) return table.remove(key, *place, now);
  if (!table.enter(key, *place)) {
    comparer.take_back(flow, state, now);
    return table.remove(key, *place, now);
  }
  loans_.emplace(flow, Loan{.place = *place, .lent = true});
  io::MatchTable::lend(state);
}

void Loans::on_frame(compare::Comparer& comparer, compare::FlowId flow, Nanos now) {
  const auto found = loans_.find(flow);
  if (found != loans_.end() && found->second.lent) take_back(comparer, flow, found->second, now);
}

void Loans::on_record(compare::Comparer& comparer, const ts_record& record, Nanos now) {
  const auto found = loans_.find(record.flow_id);
  if (found == loans_.end() || !found->second.lent) return;
  const ts_match_flow& state = port_.programs().matches().at(found->second.place);
  if (ts_record_is_plain(&record) == 0 || record.base - state.seq_delta != state.base)
    take_back(comparer, record.flow_id, found->second, now);
}

void Loans::take_back(compare::Comparer& comparer, compare::FlowId flow, Loan& loan, Nanos now) {
  ts_match_flow& state = port_.programs().matches().at(loan.place);
  io::MatchTable::take_back(state);
  loan.lent = false;
  comparer.take_back(flow, state, now);
}

void Loans::take_all(compare::Comparer& comparer, Nanos now) {
  auto& table = port_.programs().matches();
  for (auto& [flow, loan] : loans_) {
    if (loan.lent) take_back(comparer, flow, loan, now);
    table.remove({.flow_id = flow, .slot = port_.slot_number(), .reserved = 0}, loan.place, now);
  }
  loans_.clear();
}

Loans::Progress Loans::progress() const {
  Progress progress;
  for (const auto& [flow, loan] : loans_) {
    if (!loan.lent) continue;
    const ts_match_flow& state = port_.programs().matches().at(loan.place);
    ++progress.flows;
    progress.frames += __atomic_load_n(&state.frames, __ATOMIC_RELAXED);
    progress.bytes += __atomic_load_n(&state.bytes, __ATOMIC_RELAXED);
  }
  return progress;
}

}  // namespace twinstep::daemon
