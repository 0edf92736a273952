// SPDX-License-Identifier: Apache-2.0
#include "daemon/plane/secondary_side.hpp"

#include <algorithm>

#include "daemon/plane/tcp_edit.hpp"

namespace twinstep::daemon {
namespace {

/// Of datagrams and the like nobody says what arrived: send the latest.
constexpr std::size_t kOthersReplayed = 32;

std::uint32_t stream_bytes(const compare::Frame& frame) {
  const auto has = [&](std::uint8_t flag) { return (frame.tcp.flags & flag) != 0 ? 1U : 0U; };
  return static_cast<std::uint32_t>(frame.payload.size()) + has(compare::kSyn) + has(compare::kFin);
}

/// A connection that is not in the table, or of which only an older epoch knows.
ts_flow_state state_of(const io::XdpPrograms& programs, const ts_flow_key& key, std::uint32_t epoch) {
  auto state = programs.flows().find(key).value_or(ts_flow_state{});
  if (state.epoch != epoch) state.seq_delta = 0;
  return state;
}

}  // namespace

SecondarySide::SecondarySide(Port& port, LinkSender& sender, Translator& translator, const PlaneConfig& config)
    : port_(port),
      sender_(sender),
      translator_(translator),
      tracker_limits_(config.tracker_limits),
      ring_frames_max_(config.replay_frames_max) {}

void SecondarySide::pair(const compare::DigestKey& key) {
  forget();
  key_ = key;
  tracker_.emplace(key, tracker_limits_);
}

Result<void> SecondarySide::stand_by() {
  return port_.programs().flows().open(port_.slot_number(),
                                       {.settled = static_cast<std::uint32_t>(tracker_limits_.flows_max),
                                        .half_open = static_cast<std::uint32_t>(tracker_limits_.half_open_flows_max)});
}

void SecondarySide::on_output(io::XskSocket::Frame frame) {
  const auto meta = port_.meta(frame);
  if (meta.epoch != epoch()) {
    port_.umem().give(frame.address);
    return;
  }
  const auto parsed = compare::parse(port_.bytes(frame), meta, *key_);
  if (const auto record = tracker_->on_frame(parsed)) sender_.record(*record, epoch());
  if (const auto record = tracker_->fast_open(parsed)) sender_.record(*record, epoch());
  ring_.push_back(frame);
  if (ring_.size() <= ring_frames_max_) return;
  port_.umem().give(ring_.front().address);
  ring_.pop_front();
}

void SecondarySide::begin_epoch(std::uint32_t epoch, const EpochFlows& flows) {
  forget();
  tracker_->begin_epoch(epoch, flows.bases);
  before_ = flows.translations;
}

void SecondarySide::forget() {
  for (const auto& frame : ring_) port_.umem().give(frame.address);
  ring_.clear();
}

FailoverStats SecondarySide::carry_over_flows(Nanos now) {
  survivors_.clear();
  FailoverStats stats;
  FlowMap<ts_translation> before;
  for (const auto& each : before_) before.emplace(port_.key_of(each.flow), each.numbers);
  std::vector<compare::FlowTranslation> after;
  for (const auto& flow : tracker_->flows()) {
    const auto key = port_.key_of(flow.flow);
    const auto state = state_of(port_.programs(), key, epoch());
    const auto known = before.extract(key);
    const auto numbers = compare::translation_after_failover(known ? std::optional(known.mapped()) : std::nullopt,
                                                             state, epoch(), flow.tsval);
    Survivor& survivor = survivors_[flow.flow];
    if ((state.seen & TS_SEEN_ACK) != 0) survivor.client_has = state.client_ack + state.seq_delta;
    survivor.tsval = flow.tsval;
    ++stats.flows;
    if (!numbers) continue;
    survivor.shift = {.seq_delta = numbers->seq_delta, .ts_offset = numbers->ts_offset};
    if (flow.tsval) survivor.tsval = *flow.tsval + numbers->ts_offset;
    after.push_back({.flow = flow.flow, .numbers = *numbers});
    ++stats.flows_rewritten;
    if (numbers->seq_delta != 0) ++stats.flows_renumbered;
  }
  // Connections that said nothing in this epoch have been idle for longest.
  std::erase_if(before_, [&](const auto& each) { return !before.contains(port_.key_of(each.flow)); });
  after.insert(after.begin(), before_.begin(), before_.end());
  translator_.install(after, now);
  before_.clear();
  return stats;
}

bool SecondarySide::client_may_lack(const compare::Frame& frame) const {
  const auto found = survivors_.find(frame.flow);
  return found == survivors_.end() || !found->second.client_has ||
         compare::seq_lt(*found->second.client_has, frame.tcp.seq + stream_bytes(frame));
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
      last_acks.insert_or_assign(parsed.flow, std::pair(frame, parsed));
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
  if (const auto found = survivors_.find(parsed.flow); parsed.cls == TS_CLASS_TCP && found != survivors_.end()) {
    TcpEdit edit = port_.edit(frame);
    edit.shift(found->second.shift);
    if (found->second.tsval) edit.set_tsval(*found->second.tsval);
  }
  port_.emit_copy(port_.bytes(frame));
}

}  // namespace twinstep::daemon
