// SPDX-License-Identifier: Apache-2.0
#include "pair.hpp"

#include <algorithm>

namespace twinstep::compare::testing {

Pair::Pair(DigestKey digest_key, Limits limits)
    : key(digest_key), comparer(digest_key, limits), tracker(digest_key, {}) {
  checkpoint();
}

FrameId Pair::pvm_frame(Bytes bytes) {
  frames_.push_back(std::move(bytes));
  const Bytes& frame = frames_.back();
  comparer.on_frame(++last_, parse(frame, key), frame, now, effects);
  return last_;
}

void Pair::svm_frame(const Bytes& bytes) {
  const Frame frame = parse(bytes, key);
  if (const auto record = tracker.on_frame(frame)) deliver(*record);
  if (const auto record = tracker.fast_open(frame)) deliver(*record);
}

std::optional<ts_record> Pair::svm_record(const Segment& segment) {
  // Freed at once: the tracker must not keep a view of it.
  const Bytes bytes = encode(segment);
  return tracker.on_frame(parse(bytes, key));
}

void Pair::deliver(const ts_record& record, std::uint32_t epoch) {
  comparer.on_record(record, epoch, now, effects);
}

void Pair::tick() {
  if (const auto deadline = comparer.next_deadline(); deadline && *deadline <= now) comparer.on_tick(now, effects);
}

void Pair::checkpoint() {
  begin_epoch();
  commit();
  run_svm();
}

void Pair::begin_epoch() {
  bases_ = comparer.begin_epoch(comparer.epoch() + 1, now);
  tracker.begin_epoch(comparer.epoch(), bases_);
}

void Pair::commit() {
  comparer.commit(comparer.epoch(), effects);
}

void Pair::run_svm() {
  comparer.svm_running(comparer.epoch(), now);
}

std::vector<FrameId> Pair::released() const {
  std::vector<FrameId> ids;
  for (const Release& release : all<Release>()) ids.push_back(release.id);
  return ids;
}

bool Pair::is_out(FrameId id) const {
  const auto ids = released();
  return std::find(ids.begin(), ids.end(), id) != ids.end();
}

std::optional<std::uint16_t> Pair::window_of(FrameId id) const {
  for (const Release& release : all<Release>())
    if (release.id == id) return release.window;
  return std::nullopt;
}

std::optional<Cause> Pair::diverged() const {
  const auto found = all<Diverged>();
  if (found.empty()) return std::nullopt;
  return found.back().cause;
}

}  // namespace twinstep::compare::testing
