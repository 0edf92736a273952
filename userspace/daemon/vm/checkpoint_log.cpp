// SPDX-License-Identifier: Apache-2.0
#include "daemon/vm/checkpoint_log.hpp"

#include <algorithm>
#include <cmath>
#include <utility>
#include <vector>

namespace twinstep::daemon {

void CheckpointLog::add(CheckpointEntry entry) {
  if (entries_.size() == kEntriesMax) entries_.pop_front();
  entries_.push_back(std::move(entry));
}

CheckpointEntry* CheckpointLog::newest(std::uint32_t epoch) {
  if (entries_.empty() || entries_.back().epoch != epoch) return nullptr;
  return &entries_.back();
}

std::optional<Nanos> CheckpointLog::pause_quantile_ns(double fraction) const {
  if (entries_.empty()) return std::nullopt;
  std::vector<Nanos> pauses;
  pauses.reserve(entries_.size());
  for (const auto& entry : entries_) pauses.push_back(entry.pause.total_ns());
  const double rank = std::ceil(fraction * static_cast<double>(pauses.size()));  // nearest rank, from 1
  const auto index = std::clamp<std::size_t>(static_cast<std::size_t>(rank), 1, pauses.size()) - 1;
  std::nth_element(pauses.begin(), pauses.begin() + static_cast<std::ptrdiff_t>(index), pauses.end());
  return pauses[index];
}

}  // namespace twinstep::daemon
