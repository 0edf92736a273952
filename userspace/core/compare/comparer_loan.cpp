// SPDX-License-Identifier: Apache-2.0
// Which connections the XDP programs have.
#include <utility>

#include "core/compare/comparer_impl.hpp"

namespace twinstep::compare {

std::vector<FlowId> Comparer::take_offers() {
  return std::exchange(impl_->offers, {});
}

bool Comparer::lend(FlowId id, ts_match_flow& to, bool fresh) {
  auto* entry = impl_->flows.find(id);
  if (entry == nullptr) return false;
  Flow& flow = entry->flow;
  flow.offered = false;
  if (!impl_->committed || impl_->lent >= impl_->limits.lent_flows_max || !flow.may_lend()) return false;
  flow.newest_of_pvm().lend(to, fresh);
  flow.lent = true;
  ++impl_->lent;
  return true;
}

void Comparer::take_back(FlowId id, const ts_match_flow& from, Nanos now) {
  auto* entry = impl_->flows.find(id);
  if (entry == nullptr || !std::exchange(entry->flow.lent, false)) return;
  --impl_->lent;
  entry->flow.newest_of_pvm().take_back(impl_->context(), from, now);
}

}  // namespace twinstep::compare
