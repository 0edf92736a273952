// SPDX-License-Identifier: Apache-2.0
#include "core/compare/whole_frames.hpp"

#include <algorithm>
#include <iterator>

namespace twinstep::compare {

void WholeFrames::add_pvm(const WholeIdentity& identity, const HeldFrame& frame) {
  order_.emplace_back(identity, frame);
  kinds_[identity].waiting.push_back(std::prev(order_.end()));
}

void WholeFrames::add_svm(const WholeIdentity& identity) {
  if (twins_.size() >= twins_max_) {
    const auto oldest = kinds_.find(twins_.front());
    take_twin(oldest);
    tidy(oldest);
  }
  twins_.push_back(identity);
  kinds_[identity].twins.push_back(std::prev(twins_.end()));
}

std::optional<HeldFrame> WholeFrames::match(const WholeIdentity& identity) {
  const auto kind = kinds_.find(identity);
  if (kind == kinds_.end() || kind->second.twins.empty() || kind->second.waiting.empty()) return std::nullopt;
  take_twin(kind);
  const HeldFrame frame = take_waiting(kind);
  tidy(kind);
  return frame;
}

std::optional<HeldFrame> WholeFrames::take_oldest() {
  if (order_.empty()) return std::nullopt;
  const auto kind = kinds_.find(order_.front().first);
  const HeldFrame frame = take_waiting(kind);
  tidy(kind);
  return frame;
}

void WholeFrames::take_twin(Kinds::iterator kind) {
  twins_.erase(kind->second.twins.front());
  kind->second.twins.pop_front();
}

HeldFrame WholeFrames::take_waiting(Kinds::iterator kind) {
  const auto oldest = kind->second.waiting.front();
  const HeldFrame frame = oldest->second;
  order_.erase(oldest);
  kind->second.waiting.pop_front();
  return frame;
}

void WholeFrames::tidy(Kinds::iterator kind) {
  if (kind->second.twins.empty() && kind->second.waiting.empty()) kinds_.erase(kind);
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
  twins_.clear();
}

}  // namespace twinstep::compare
