// SPDX-License-Identifier: Apache-2.0
#include "core/compare/flow.hpp"

#include <algorithm>
#include <utility>

namespace twinstep::compare {
namespace {

/// A port used again this often with the SVM still at the first connection: the VMs have parted.
constexpr std::size_t kConnectionsMax = 8;

}  // namespace

bool Flow::take(const FlowKey& key) {
  if (key_) return *key_ == key;
  key_ = key;
  for (Connection& connection : connections_) connection.set_flow(key);
  return true;
}

std::string Flow::name() const {
  return key_ ? describe(*key_) : "a flow of the secondary alone";
}

Connection* Flow::next(std::size_t& side) {
  if (side + 1 == kConnectionsMax) return nullptr;
  ++side;
  if (side == connections_.size()) connections_.emplace_back(key_.value_or(FlowKey{}));
  return &connections_[side];
}

Connection* Flow::at_pvm(const TcpSegment& segment) {
  Connection& current = connections_[pvm_];
  if ((segment.flags & kSyn) == 0 || current.takes_pvm_syn(segment.seq)) return &current;
  return next(pvm_);
}

Connection* Flow::at_svm(const ts_record& record) {
  Connection& current = connections_[svm_];
  if ((record.flags & TS_RECORD_SYN) == 0 || current.takes_svm_syn(record.base)) return &current;
  return next(svm_);
}

void Flow::release(const Context& context, std::uint64_t arriving, Effects& out) {
  for (Connection& connection : connections_) {
    connection.release(context, arriving, out);
    if (!connection.held().empty()) break;
  }
  const std::size_t past = std::min(pvm_, svm_);
  std::size_t done = 0;
  while (done < past && connections_[done].held().empty()) ++done;
  connections_.erase(connections_.begin(), connections_.begin() + static_cast<std::ptrdiff_t>(done));
  pvm_ -= done;
  svm_ -= done;
}

void Flow::update_window(const Context& context, Effects& out) {
  connections_[pvm_].update_window(context, out);
}

bool Flow::holds() const {
  return std::any_of(connections_.begin(), connections_.end(),
                     [](const Connection& connection) { return !connection.held().empty(); });
}

std::size_t Flow::frames_held() const {
  std::size_t frames = 0;
  for (const Connection& connection : connections_) frames += connection.held().size();
  return frames;
}

const Connection& Flow::waiting() const {
  return *std::find_if(connections_.begin(), connections_.end(),
                       [](const Connection& connection) { return !connection.held().empty(); });
}

std::optional<FlowBase> Flow::begin_epoch(const Limits& limits, std::vector<HeldFrame>& closed) {
  std::optional<FlowBase> base;
  for (std::size_t i = 0; i <= pvm_; ++i) base = connections_[i].begin_epoch(limits, closed);
  Connection newest = std::move(connections_[pvm_]);
  connections_.clear();
  connections_.push_back(std::move(newest));
  pvm_ = svm_ = 0;
  listed = offered = false;
  return base;
}

void Flow::take_held(std::vector<HeldFrame>& held) {
  for (Connection& connection : connections_) {
    for (const HeldSegment& segment : connection.held()) held.push_back(segment.frame);
    connection.forget_held();
  }
  listed = false;
}

}  // namespace twinstep::compare
