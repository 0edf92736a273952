// SPDX-License-Identifier: Apache-2.0
#include "plane.hpp"

#include <algorithm>
#include <array>
#include <utility>

#include "core/compare/translation.hpp"

namespace twinstep::sim {
namespace {

/// So few that a run's strangers fill it.
constexpr std::size_t kHalfOpenFlowsMax = 16;

constexpr std::size_t kReplayMax = 64;
constexpr std::size_t kGatedMax = 1024;

/// One key serves all runs: finding a prime costs more than a whole run does.
const compare::DigestKey& digest_key() {
  static const compare::DigestKey key = [] {
    std::array<std::byte, 16> seed{};
    seed.fill(std::byte{0x3c});
    return compare::DigestKey::from_seed(seed);
  }();
  return key;
}

/// Whether the first such packet after a SYN-ACK acknowledges the initial number alone. The sim's guests never dial.
bool tells_isn(const Packet& packet) {
  return packet.kind == Packet::Kind::tcp && packet.has(compare::kAck) && !packet.has(compare::kSyn);
}

}  // namespace

Plane::Plane(Context& context, Checkers& checkers, HostIndex host, PlanePorts ports)
    : context_(context), checkers_(checkers), host_(host), ports_(std::move(ports)) {}

// ---------------------------------------------------------------------------------------------------------------------
// Frames

void Plane::vm_sent(const Packet& packet) {
  if (context_.tracing()) context_.print(host_name(host_), "guest sends " + describe(packet));
  switch (gate_) {
    case Gate::closed:
      return;
    case Gate::direct:
      speak(packet);
      return;
    case Gate::hold:
      hold(packet);
      return;
    case Gate::standby:
      produce(packet);
      return;
  }
}

void Plane::hold(const Packet& packet) {
  const compare::FrameId id = next_id_++;
  const Held& held = held_.emplace(id, Held{packet, encode(packet), image_, translation_out(packet)}).first->second;
  const compare::Frame frame = compare::parse(held.bytes, digest_key());
  compare::Effects effects;
  comparer_->on_frame(id, frame, held.bytes, context_.now(), effects);
  carry_out(effects);
  if (held_.contains(id) && std::exchange(tell_of_output_, false)) {
    context_.mark("diverged: output");
    ports_.diverged(comparer_->epoch(), compare::Cause::output);
  }
}

void Plane::produce(const Packet& packet) {
  note_opening(packet);
  latest_.push_back(packet);
  if (latest_.size() > kReplayMax) latest_.pop_front();
  const Bytes bytes = encode(packet);
  const auto record = tracker_->on_frame(compare::parse(bytes, digest_key()));
  if (record) ports_.to_link(SvmRecord{standing_.epoch, *record});
}

void Plane::speak(Packet packet) {
  checkers_.voice.speaks(host_, ports_.record());
  checkers_.output.spoken(host_, packet);
  const std::uint32_t seq_delta = translation_out(packet);
  leave(std::move(packet), seq_delta);
}

void Plane::leave(Packet packet, std::uint32_t seq_delta) {
  packet.seq -= seq_delta;
  if (context_.tracing()) context_.print(host_name(host_), "lets out " + describe(packet));
  ports_.to_client(packet);
}

/// As the tap program and the daemon do, when the VM sends it.
std::uint32_t Plane::translation_out(const Packet& packet) {
  const auto found = translations_.find(packet.flow);
  if (packet.kind != Packet::Kind::tcp || found == translations_.end()) return 0;
  if (packet.has(compare::kSyn) && compare::ends_translation(found->second, packet.seq)) {
    translations_.erase(found);
    return 0;
  }
  return found->second.seq_delta;
}

/// As the uplink program does, before anything else.
void Plane::translate_in(Packet& packet) {
  const auto found = translations_.find(packet.flow);
  if (packet.kind != Packet::Kind::tcp || !packet.has(compare::kAck) || found == translations_.end()) return;
  ts_translation& translation = found->second;
  if ((translation.flags & TS_TRANSLATION_OPENING) != 0 && tells_isn(packet)) {
    translation.seq_delta = translation.vm_isn + 1 - packet.ack;
    translation.flags &= ~std::uint32_t{TS_TRANSLATION_OPENING};
    if (translation.seq_delta != 0) context_.mark("worked out a difference after taking over");
  }
  if (translation.seq_delta != 0 && gate_ == Gate::hold) context_.mark("translated for a protected VM");
  packet.ack += translation.seq_delta;
}

void Plane::uplink_received(const Packet& packet) {
  if (gate_ == Gate::closed || gate_ == Gate::standby || !vm_) return;
  Packet inbound = packet;
  translate_in(inbound);
  if (input_gated_) {
    if (gated_.size() < kGatedMax) gated_.push_back(std::move(inbound));
    return;
  }
  deliver_inbound(std::move(inbound));
}

void Plane::deliver_inbound(Packet packet) {
  if (gate_ == Gate::hold) ports_.to_link(Mirrored{epoch_, packet});
  vm_->deliver(std::move(packet));
}

void Plane::link_received(const RawFrame& frame) {
  std::visit([this](const auto& f) { receive(f); }, frame);
}

void Plane::receive(const Mirrored& frame) {
  if (gate_ != Gate::standby || !vm_) return;
  if (frame.epoch != standing_.epoch) {
    context_.mark("mirrored frame of another epoch");
    return;
  }
  Packet packet = frame.packet;
  if (packet.kind == Packet::Kind::tcp && packet.has(compare::kAck)) {
    auto& latest = client_acks_.try_emplace(packet.flow, packet.ack).first->second;
    if (compare::seq_lt(latest, packet.ack)) latest = packet.ack;
  }
  const auto found = standing_.flows.find(packet.flow);
  if (packet.kind == Packet::Kind::tcp && packet.has(compare::kAck) && found != standing_.flows.end()) {
    ts_flow_state& state = found->second;
    if ((state.seen & TS_SEEN_OPENING) != 0 && tells_isn(packet)) {
      state.seq_delta = state.opening_isn + 1 - packet.ack;
      state.seen &= ~std::uint32_t{TS_SEEN_OPENING};
      if (state.seq_delta != 0) context_.mark("worked out a difference as secondary");
    }
    packet.ack += state.seq_delta;
  }
  vm_->deliver(std::move(packet));
}

void Plane::receive(const SvmRecord& frame) {
  if (gate_ == Gate::hold) compare(frame.record, frame.epoch);
}

void Plane::compare(const ts_record& record, std::uint32_t epoch) {
  ts_record given = record;
  if (context_.planted == Planted::release_before_ack) given.ack += 1U << 20;
  if (context_.planted == Planted::keep_old_digests && epoch == epoch_) epoch_records_.push_back(record);
  compare::Effects effects;
  comparer_->on_record(given, epoch, context_.now(), effects);
  carry_out(effects);
}

void Plane::receive(const FlowDelta& frame) {
  if (gate_ != Gate::standby || frame.epoch != standing_.epoch) return;
  ts_flow_state& state = standing_.flows[frame.delta.flow];
  if ((state.seen & TS_SEEN_OPENED) != 0 && state.opening_isn != frame.delta.svm_isn) return;
  state.epoch = frame.epoch;
  state.seq_delta = frame.delta.seq_delta;
  state.opening_isn = frame.delta.svm_isn;
  state.seen = TS_SEEN_OPENED;
}

void Plane::note_opening(const Packet& packet) {
  if (packet.kind != Packet::Kind::tcp || !packet.has(compare::kSyn)) return;
  ts_flow_state& state = standing_.flows[packet.flow];
  if ((state.seen & TS_SEEN_OPENED) != 0 && state.opening_isn == packet.seq) return;
  state = {};
  state.epoch = standing_.epoch;
  state.opening_isn = packet.seq;
  state.seen = TS_SEEN_OPENED | TS_SEEN_OPENING;
}

// ---------------------------------------------------------------------------------------------------------------------
// The comparer's effects

void Plane::carry_out(const compare::Effects& effects) {
  for (const compare::Effect& effect : effects) std::visit([this](const auto& e) { carry_out(e); }, effect);
  schedule_tick();
}

void Plane::carry_out(const compare::Release& release) {
  const auto found = held_.find(release.id);
  if (found == held_.end()) {
    context_.violate("I1", "the comparer released frame " + std::to_string(release.id) + ", which isn't held");
    return;
  }
  Packet packet = std::move(found->second.packet);
  const ImageId image = found->second.image;
  const std::uint32_t seq_delta = found->second.seq_delta;
  held_.erase(found);
  if (release.window) packet.window = *release.window;
  checkers_.output.released(host_, image, packet, ports_.record());
  leave(std::move(packet), seq_delta);
}

void Plane::carry_out(const compare::Drop& drop) {
  context_.mark("expendable frame dropped");
  held_.erase(drop.id);
}

void Plane::carry_out(const compare::SendFrame& send) {
  context_.mark("window update made");
  Packet packet = decode(compare::parse(send.bytes, digest_key()));
  const Connection* connection = vm_ ? vm_->guest.state.find(packet.flow) : nullptr;
  if (connection != nullptr) {
    packet.ack_position = packet.ack - connection->client_isn;
    checkers_.output.window_updated(host_, packet);
  }
  const auto translation = translations_.find(packet.flow);
  leave(std::move(packet), translation == translations_.end() ? 0 : translation->second.seq_delta);
}

void Plane::carry_out(const compare::SetDelta& delta) {
  ports_.to_link(FlowDelta{epoch_, delta});
}

void Plane::carry_out(const compare::Diverged& diverged) {
  context_.mark(std::string("diverged: ") + compare::to_string(diverged.cause));
  context_.trace(host_, std::string("diverged: ") + compare::to_string(diverged.cause) + ", " + diverged.detail);
  ports_.diverged(comparer_->epoch(), diverged.cause);
}

void Plane::schedule_tick() {
  const auto deadline = comparer_ ? comparer_->next_deadline() : std::nullopt;
  if (!deadline || (tick_at_ && *tick_at_ <= *deadline)) return;
  tick_at_ = std::max(*deadline, context_.now());
  context_.scheduler.at(*tick_at_, [this, life = std::weak_ptr(life_), comparison = comparison_, at = *tick_at_] {
    if (!life.expired() && comparison == comparison_ && tick_at_ == at) tick();
  });
}

void Plane::tick() {
  tick_at_.reset();
  compare::Effects effects;
  comparer_->on_tick(context_.now(), effects);
  carry_out(effects);
}

void Plane::forget_comparison() {
  comparer_.reset();
  held_.clear();
  tick_at_.reset();
  ++comparison_;
}

// ---------------------------------------------------------------------------------------------------------------------
// Orders: primary

void Plane::open() {
  gate_ = Gate::direct;
  checkers_.voice.opened(host_, ports_.record());
}

void Plane::ungate_input() {
  input_gated_ = false;
  for (auto gated = std::exchange(gated_, {}); Packet & packet : gated) deliver_inbound(std::move(packet));
}

std::vector<compare::FlowBase> Plane::begin_epoch(std::uint32_t epoch, ImageId image, bool svm_rests) {
  if (!comparer_) {
    comparer_.emplace(digest_key(), compare::Limits{.half_open_flows_max = kHalfOpenFlowsMax});
    gate_ = Gate::hold;
    checkers_.voice.shut(host_);
  }
  auto bases = comparer_->begin_epoch(epoch, context_.now());
  epoch_ = epoch;
  image_ = image;
  tell_of_output_ = svm_rests;
  rested_ = rested_ || svm_rests;
  // What the PVM has not read yet belongs to the new epoch, and the SVM must get it too.
  for (const Packet& unread : vm_->tap) ports_.to_link(Mirrored{epoch_, unread});
  ungate_input();
  if (context_.planted == Planted::keep_old_digests) keep_old_records();
  schedule_tick();
  return bases;
}

void Plane::keep_old_records() {
  for (auto old = std::exchange(epoch_records_, {}); ts_record & record : old) {
    // The comparer would see by the base that an old stream is none of the new epoch's; acknowledgements and datagrams
    // carry nothing that tells.
    record.flags &= static_cast<std::uint8_t>(~TS_RECORD_BASE);
    compare(record, epoch_);
  }
  epoch_records_.clear();
}

void Plane::commit(std::uint32_t epoch) {
  if (!comparer_) return;
  compare::Effects effects;
  comparer_->commit(epoch, effects);
  carry_out(effects);
}

void Plane::compare_from(std::uint32_t epoch, Nanos hold_ns) {
  if (!comparer_) return;
  if (rested_) context_.mark("compared again after a rest");
  comparer_->set_hold(hold_ns);
  comparer_->svm_running(epoch, context_.now());
  schedule_tick();
}

void Plane::release_all() {
  if (comparer_) {
    compare::Effects effects;
    comparer_->release_all(effects);
    carry_out(effects);
    if (!held_.empty()) context_.violate("I5", "frames are still held after all were released");
  }
  forget_comparison();
  open();
}

void Plane::shut() {
  if (comparer_) {
    const auto dropped = comparer_->discard();
    if (dropped.size() != held_.size())
      context_.violate(
          "I5", "the comparer forgot " + std::to_string(dropped.size()) + " frames of " + std::to_string(held_.size()));
  }
  forget_comparison();
  gate_ = Gate::closed;
  input_gated_ = false;
  gated_.clear();
  tracker_.reset();
  latest_.clear();
  client_acks_.clear();
  translations_.clear();
  checkers_.voice.shut(host_);
}

// ---------------------------------------------------------------------------------------------------------------------
// Orders: secondary

void Plane::standby() {
  gate_ = Gate::standby;
  tracker_.emplace(digest_key(), compare::SvmTracker::Limits{.half_open_flows_max = kHalfOpenFlowsMax});
  standing_ = {};
  before_ = {};
  translations_loaded_.clear();
}

void Plane::standby_stop(std::uint32_t epoch) {
  before_ = std::exchange(standing_, Standing{epoch, {}});
  vm_->tap.clear();
}

void Plane::standby_start(const Image& image) {
  tracker_->begin_epoch(image.epoch, image.bases);
  translations_loaded_ = image.translations;
  latest_.clear();
}

void Plane::standby_resume() {
  // What has come for the new epoch is in numbers that the old one does not share.
  vm_->tap.clear();
  standing_ = before_;
}

void Plane::standby_wake(const Image& image) {
  // A checkpoint that never came to be may have begun to stop the SVM for its own epoch.
  if (standing_.epoch != image.epoch) {
    standing_ = before_;
    vm_->tap.clear();
  }
  tracker_->begin_epoch(image.epoch, image.bases);
}

void Plane::carry_over_flows() {
  translations_ = std::exchange(translations_loaded_, {});
  for (const auto& [flow, state] : standing_.flows) {
    const auto known = translations_.find(flow);
    const auto before = known == translations_.end() ? std::nullopt : std::optional(known->second);
    const auto after = compare::translation_after_failover(before, state, standing_.epoch, std::nullopt);
    if (after) {
      context_.mark("took over with numbers to rewrite");
      translations_[flow] = *after;
    } else {
      translations_.erase(flow);
    }
  }
}

void Plane::take_over() {
  carry_over_flows();
  open();
  for (auto latest = std::exchange(latest_, {}); const Packet& packet : latest) {
    const auto client_ack = client_acks_.find(packet.flow);
    const auto state = standing_.flows.find(packet.flow);
    const std::uint32_t end = packet.seq + static_cast<std::uint32_t>(packet.length()) -
                              (state == standing_.flows.end() ? 0 : state->second.seq_delta);
    const bool has_it = client_ack != client_acks_.end() && compare::seq_le(end, client_ack->second);
    if (packet.kind == Packet::Kind::tcp && !has_it) {
      context_.mark("replayed output after taking over");
      speak(packet);
    }
  }
  tracker_.reset();
  client_acks_.clear();
}

}  // namespace twinstep::sim
