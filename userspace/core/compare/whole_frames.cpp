// SPDX-License-Identifier: Apache-2.0
#include "core/compare/whole_frames.hpp"

#include <algorithm>
#include <iterator>

namespace twinstep::compare {

void WholeFrames::add_pvm(const WholeIdentity& identity, const HeldFrame& frame) {
  order_.emplace_back(identity, frame);
  kinds_[identity].waiting.push_back(std::prev(order_.end()));
}

bool WholeFrames::add_svm(const WholeIdentity& identity) {
  if (kinds_.size() >= kinds_max_ && !kinds_.contains(identity)) return false;
  ++kinds_[identity].twins;
  return true;
}

std::optional<HeldFrame> WholeFrames::match(const WholeIdentity& identity) {
  const auto found = kinds_.find(identity);
  if (found == kinds_.end()) return std::nullopt;
  Kind& kind = found->second;
  if (kind.twins == 0 || kind.waiting.empty()) return std::nullopt;
  const auto oldest = kind.waiting.front();
  const HeldFrame frame = oldest->second;
  order_.erase(oldest);
  kind.waiting.pop_front();
  if (--kind.twins == 0 && kind.waiting.empty()) kinds_.erase(found);
  return frame;
}

std::vector<HeldFrame> WholeFrames::match_all() {
  std::vector<WholeIdentity> waiting;
  waiting.reserve(order_.size());
  for (const auto& [identity, frame] : order_) waiting.push_back(identity);
  std::vector<HeldFrame> matched;
  for (const WholeIdentity& identity : waiting) {
    if (const auto frame = match(identity)) matched.push_back(*frame);
  }
  return matched;
}

std::optional<HeldFrame> WholeFrames::oldest() const {
  if (order_.empty()) return std::nullopt;
  return order_.front().second;
}

void WholeFrames::take_held(std::vector<HeldFrame>& held) {
  std::transform(order_.begin(), order_.end(), std::back_inserter(held),
                 [](const auto& entry) { return entry.second; });
  order_.clear();
  kinds_.clear();
}

}  // namespace twinstep::compare
