// SPDX-License-Identifier: Apache-2.0
#include "daemon/plane/primary_side.hpp"

#include <algorithm>
#include <cstring>
#include <utility>

#include "bpf/abi/twinstep_twins.h"
#include "daemon/plane/tcp_edit.hpp"
#include "io/monotonic.hpp"

namespace twinstep::daemon {
namespace {

constexpr std::size_t kEthernetBytes = 14;
/// AF_XDP has no back-pressure: when the chunks are used up, the guest's frames are lost. With this many left there is
/// time for a checkpoint.
constexpr std::size_t kChunksLow = io::Umem::kRingEntries / 2;
/// Chunks of the largest frame.
constexpr std::size_t kPartsMax = 3;

}  // namespace

PrimarySide::PrimarySide(Port& port, LinkSender& sender, Translator& translator, const PlaneConfig& config,
                         OnDiverged on_diverged)
    : port_(port),
      sender_(sender),
      translator_(translator),
      limits_(config.limits),
      inbound_frames_max_(config.inbound_frames_max),
      on_diverged_(std::move(on_diverged)),
      held_(port.umem().chunks()) {}

void PrimarySide::pair(const compare::DigestKey& key) {
  discard();
  key_ = key;
  comparer_.emplace(key, limits_);
  diverged_epoch_.reset();
  record_sequence_ = {};
  const auto counters = port_.counters();
  record_frames_kept_ = counters.count[TS_COUNT_LINK_MATCHED];
  twins_before_ = counters.count[TS_COUNT_TAP_TWIN];
}

void PrimarySide::on_output(io::XskSocket::Frame frame, Nanos now) {
  const auto bytes = port_.bytes(frame);
  const std::uint64_t held_before = comparer_->stats().frames_held;
  const auto parsed = compare::parse(bytes, port_.meta(frame), *key_);
  const bool has_lane = parsed.cls != TS_CLASS_TCP && parsed.cls != TS_CLASS_SOFT;
  held_.at(port_.umem().index(frame.address)) = {frame.length, translator_.on_output(parsed),
                                                 has_lane ? ts_lane(port_.slot_number(), parsed.flow_id) : kNoLane,
                                                 comparer_->epoch()};
  loans_.on_frame(*comparer_, parsed.flow_id, now);
  comparer_->on_frame(frame.address, parsed, bytes, now, effects_);
  carry_out();
  tell_of_output(held_before);
  if (port_.umem().free_chunks() < (port_.fragments() ? kPartsMax : 1) * kChunksLow)
    run(compare::Diverged{compare::Cause::pressure, "packet memory is nearly used up"});
}

void PrimarySide::on_records(std::span<const std::byte> frame, Nanos now) {
  if (frame.size() < TS_LINK_OVERHEAD_BYTES) return;
  ts_link_header header{};
  std::memcpy(&header, frame.data() + kEthernetBytes, sizeof(header));
  const auto body = frame.subspan(TS_LINK_OVERHEAD_BYTES);
  if (body.size() / sizeof(ts_record) < header.count) return;
  // A record that counts by itself, such as a datagram's, must not count twice.
  if (!record_sequence_.take(header.sequence)) return;
  for (std::size_t i = 0; i < header.count; ++i) {
    ts_record record{};
    std::memcpy(&record, body.data() + i * sizeof(record), sizeof(record));
    if (header.epoch == comparer_->epoch() && record.type == TS_RECORD_TCP) loans_.on_record(*comparer_, record, now);
    comparer_->on_record(record, header.epoch, now, effects_);
  }
  carry_out();
}

/// Those that the link program kept are none. It may have kept later ones than were seen here.
std::uint64_t PrimarySide::record_frames_lost() const {
  const std::uint64_t kept = port_.counters().count[TS_COUNT_LINK_MATCHED] - record_frames_kept_;
  return record_sequence_.missing() - std::min<std::uint64_t>(record_sequence_.missing(), kept);
}

compare::Stats PrimarySide::stats() const {
  compare::Stats stats = comparer_->stats();
  const auto progress = loans_.progress();
  const std::uint64_t in_kernel = progress.frames + twins();
  stats.frames_in += in_kernel;
  stats.frames_released += in_kernel;
  stats.frames_released_on_arrival += in_kernel;
  stats.bytes_matched += progress.bytes;
  stats.flows_lent = progress.flows;
  return stats;
}

void PrimarySide::take_back_loans() {
  if (comparer_) loans_.take_all(*comparer_, io::monotonic_ns());
}

void PrimarySide::on_gated(std::span<const std::byte> frame) {
  if (inbound_.size() >= inbound_frames_max_) {
    ++inbound_dropped_;
    return;
  }
  inbound_.emplace_back(frame.begin(), frame.end());
}

void PrimarySide::on_input(std::span<const std::byte> frame) {
  if (port_.slot().uplink_mode == TS_UPLINK_GATED) return on_gated(frame);
  sender_.mirror(frame, port_.slot().epoch);
  port_.send_copy(port_.input(), frame);
}

void PrimarySide::on_tick(Nanos now) {
  if (!comparer_) return;
  comparer_->on_tick(now, effects_);
  carry_out();
}

void PrimarySide::lend(Nanos now) {
  if (comparer_) loans_.lend_offers(*comparer_, now);
}

void PrimarySide::flush() {
  port_.uplink().flush();
  for (const std::uint32_t lane : leaving_) port_.programs().lanes().leave(lane);
  leaving_.clear();
  port_.input().flush();
  sender_.flush();
}

void PrimarySide::tell_of_output(std::uint64_t held_before) {
  if (!tell_of_output_ || comparer_->stats().frames_held == held_before) return;
  tell_of_output_ = false;
  on_diverged_(comparer_->epoch(), {compare::Cause::output, "output waits"});
}

void PrimarySide::keep_unread(const io::Tap& tap) {
  auto unread = tap.drain(inbound_frames_max_);
  inbound_.insert(inbound_.begin(), std::make_move_iterator(unread.begin()), std::make_move_iterator(unread.end()));
}

std::vector<compare::FlowBase> PrimarySide::begin_epoch(std::uint32_t epoch, bool svm_rests, const io::Tap& tap,
                                                        Nanos now) {
  // What came after the gate was shut, being on its way already. It is not in the saved state.
  keep_unread(tap);
  take_back_loans();
  auto bases = comparer_->begin_epoch(epoch, now);
  tell_of_output_ = svm_rests;
  // What waits now leaves before anything of this epoch does.
  port_.programs().lanes().clear(port_.slot_number());
  port_.set_epoch(epoch);
  return bases;
}

void PrimarySide::resume_input() {
  const std::uint32_t epoch = port_.slot().epoch;
  for (const auto& frame : inbound_) sender_.mirror(frame, epoch);
  deliver_input();
}

void PrimarySide::deliver_input() {
  for (const auto& frame : std::exchange(inbound_, {})) port_.send_copy(port_.input(), frame);
  flush();
}

void PrimarySide::commit(std::uint32_t epoch) {
  comparer_->commit(epoch, effects_);
  carry_out();
  flush();
  if (epoch == comparer_->epoch()) port_.set_committed();
}

void PrimarySide::release_all() {
  if (!comparer_) return;
  take_back_loans();
  diverged_epoch_ = comparer_->epoch();  // a checkpoint is nothing to ask for any more
  comparer_->release_all(effects_);
  carry_out();
  flush();
}

std::size_t PrimarySide::discard() {
  inbound_.clear();
  if (!comparer_) return 0;
  take_back_loans();
  const auto frames = comparer_->discard();
  for (const auto frame : frames) port_.umem().give(frame);
  port_.programs().lanes().clear(port_.slot_number());
  return frames.size();
}

void PrimarySide::carry_out() {
  for (const auto& effect : effects_) std::visit([this](const auto& each) { run(each); }, effect);
  effects_.clear();
}

void PrimarySide::run(const compare::Release& release) {
  const Held& held = held_.at(port_.umem().index(release.id));
  const io::XskSocket::Frame frame{release.id, held.length};
  if (release.window) port_.edit(frame).set_window(*release.window);
  if (held.shift.changes()) port_.edit(frame).shift(held.shift);
  port_.emit(frame);
  leave(held);
}

void PrimarySide::run(const compare::Drop& drop) {
  leave(held_.at(port_.umem().index(drop.id)));
  port_.umem().give(drop.id);
}

/// Frames of earlier epochs don't count any more.
void PrimarySide::leave(const Held& held) {
  if (held.lane != kNoLane && held.epoch == comparer_->epoch()) leaving_.push_back(held.lane);
}

void PrimarySide::run(const compare::SendFrame& frame) {
  auto bytes = frame.bytes;
  const auto shift = translator_.of_made(compare::parse(bytes, *key_));
  if (shift.changes()) TcpEdit(bytes).shift(shift);
  port_.emit_copy(bytes);
}

void PrimarySide::run(const compare::SetDelta& delta) {
  sender_.delta(delta, comparer_->epoch());
}

void PrimarySide::run(const compare::Diverged& diverged) {
  if (diverged_epoch_ == comparer_->epoch()) return;
  diverged_epoch_ = comparer_->epoch();
  on_diverged_(comparer_->epoch(), diverged);
}

}  // namespace twinstep::daemon
