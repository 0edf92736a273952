// SPDX-License-Identifier: Apache-2.0
#include "daemon/plane/secondary_side.hpp"

#include <algorithm>
#include <vector>

#include "daemon/plane/tcp_edit.hpp"

namespace twinstep::daemon {
namespace {

/// Added to the client's latest TSecr: the PVM's segments on their way are at most this much newer, in its
/// milliseconds.
constexpr std::uint32_t kTsvalSlack = 250;
/// Of datagrams and the like nobody says what arrived: send the latest.
constexpr std::size_t kOthersReplayed = 32;

std::uint32_t stream_bytes(const compare::Frame& frame) {
  const auto has = [&](std::uint8_t flag) { return (frame.tcp.flags & flag) != 0 ? 1U : 0U; };
  return static_cast<std::uint32_t>(frame.payload.size()) + has(compare::kSyn) + has(compare::kFin);
}

std::uint32_t ts_offset(const ts_flow_state& state, std::optional<std::uint32_t> svm_tsval) {
  if ((state.seen & TS_SEEN_TSECR) == 0 || !svm_tsval) return 0;
  const std::uint32_t offset = state.client_tsecr - *svm_tsval + kTsvalSlack;
  return static_cast<std::int32_t>(offset) > 0 ? offset : 0;
}

}  // namespace

SecondarySide::SecondarySide(Port& port, LinkSender& sender, const PlaneConfig& config)
    : port_(port), sender_(sender), ring_frames_max_(config.replay_frames_max) {}

void SecondarySide::pair(const compare::DigestKey& key) {
  forget();
  key_ = key;
  tracker_.emplace(key, compare::SvmTracker::Limits{});
}

void SecondarySide::on_output(io::XskSocket::Frame frame) {
  const auto meta = port_.meta(frame);
  if (meta.epoch != epoch()) {
    port_.umem().give(frame.address);
    return;
  }
  const auto parsed = compare::parse(port_.bytes(frame), meta, *key_);
  if (const auto record = tracker_->on_frame(parsed)) sender_.record(*record, epoch());
  ring_.push_back(frame);
  if (ring_.size() <= ring_frames_max_) return;
  port_.umem().give(ring_.front().address);
  ring_.pop_front();
}

void SecondarySide::begin_epoch(std::uint32_t epoch, std::span<const compare::FlowBase> bases) {
  forget();
  tracker_->begin_epoch(epoch, bases);
}

void SecondarySide::forget() {
  for (const auto& frame : ring_) port_.umem().give(frame.address);
  ring_.clear();
}

FailoverStats SecondarySide::carry_over_flows() {
  survivors_.clear();
  FailoverStats stats;
  for (const auto& flow : tracker_->flows()) {
    const auto key = Port::key_of(flow.flow);
    auto state = port_.programs().flow(key).value_or(ts_flow_state{});
    if (state.epoch != epoch()) {
      state.seq_delta = state.ts_delta = 0;
      state.seen &= ~std::uint32_t{TS_SEEN_OPENING};
    }
    state.epoch = epoch();
    state.ts_offset = ts_offset(state, flow.tsval);
    // A full map refuses nothing: the least recently used entry makes room.
    if (!port_.programs().set_flow(key, state)) continue;
    Survivor& survivor = survivors_[flow.flow];
    survivor.state = state;
    if (flow.tsval) survivor.tsval = *flow.tsval + state.ts_offset;
    ++stats.flows;
    if ((state.seq_delta | state.ts_offset) != 0) ++stats.flows_rewritten;
  }
  return stats;
}

bool SecondarySide::client_may_lack(const compare::Frame& frame) const {
  const auto found = survivors_.find(frame.flow);
  if (found == survivors_.end() || (found->second.state.seen & TS_SEEN_ACK) == 0) return true;
  const auto& state = found->second.state;
  return compare::seq_lt(state.client_ack, frame.tcp.seq + stream_bytes(frame) - state.seq_delta);
}

std::size_t SecondarySide::replay() {
  std::vector<std::pair<io::XskSocket::Frame, compare::Frame>> chosen;
  std::map<compare::FlowKey, std::pair<io::XskSocket::Frame, compare::Frame>> last_acks;
  std::vector<std::pair<io::XskSocket::Frame, compare::Frame>> others;
  for (const auto& frame : ring_) {
    const auto parsed = compare::parse(port_.bytes(frame), port_.meta(frame), *key_);
    if (parsed.cls == TS_CLASS_SOFT) continue;
    if (parsed.cls != TS_CLASS_TCP)
      others.emplace_back(frame, parsed);
    else if (stream_bytes(parsed) == 0)
      last_acks[parsed.flow] = {frame, parsed};
    else if (client_may_lack(parsed))
      chosen.emplace_back(frame, parsed);
  }
  for (const auto& [flow, ack] : last_acks) chosen.push_back(ack);
  const auto skipped = static_cast<std::ptrdiff_t>(others.size() - std::min(others.size(), kOthersReplayed));
  chosen.insert(chosen.end(), others.begin() + skipped, others.end());

  for (const auto& [frame, parsed] : chosen) send(frame, parsed);
  port_.uplink().flush();
  forget();
  return chosen.size();
}

/// A copy: the ring still owns the chunk.
void SecondarySide::send(io::XskSocket::Frame frame, const compare::Frame& parsed) {
  const auto bytes = port_.bytes(frame);
  if (const auto found = survivors_.find(parsed.flow); parsed.cls == TS_CLASS_TCP && found != survivors_.end()) {
    TcpEdit edit(bytes);
    edit.set_seq(edit.seq() - found->second.state.seq_delta);
    if (found->second.tsval) edit.set_tsval(*found->second.tsval);
  }
  port_.send_copy(port_.uplink(), bytes);
}

}  // namespace twinstep::daemon
