// SPDX-License-Identifier: Apache-2.0
// Properties of the whole comparison on random streams, checked against a model of what the SVM really sent.
#include <gtest/gtest.h>
#include <rapidcheck.h>

#include <algorithm>
#include <functional>
#include <random>
#include <set>

#include "pair.hpp"

namespace twinstep::compare {
namespace {

using testing::Bytes;
using testing::Pair;
using TestSegment = testing::Segment;

constexpr std::uint32_t kNoFlip = ~0U;

/// One random dialogue: a stream with numbers anywhere in sequence space that both VMs cut and order in their own ways.
struct Dialogue {
  std::uint32_t seed = 0;
  std::uint32_t pvm_isn = 0;
  std::uint32_t svm_isn = 0;
  std::uint32_t first_ack = 0;
  std::uint32_t bytes = 0;
};

/// A VM's segment with its position in the stream, from the first byte.
struct Sent {
  TestSegment segment{};
  std::uint32_t begin = 0;
  std::uint32_t end = 0;  ///< behind the payload
  bool fin = false;
};

/// What the SVM has really sent: bytes, end and acknowledgement. It shares no code with the comparison.
class Model {
 public:
  Model(const Bytes& pvm_stream, std::uint32_t first_ack)
      : stream_(pvm_stream), right_(pvm_stream.size()), ack_(first_ack) {}

  void on_svm(const Sent& sent) {
    for (std::uint32_t i = sent.begin; i < sent.end; ++i)
      right_[i] = sent.segment.payload[i - sent.begin] == stream_[i];
    if (sent.fin) fin_ = true;
    ack_ = std::max(ack_, sent.segment.ack, seq_lt);
  }
  /// Invariant I1 for a frame that goes out.
  void expect_covered(const Sent& sent) const {
    for (std::uint32_t i = 0; i < sent.end; ++i) RC_ASSERT(right_[i]);
    if (sent.fin) RC_ASSERT(fin_);
    RC_ASSERT(seq_le(sent.segment.ack, ack_));
  }

 private:
  const Bytes& stream_;
  std::vector<bool> right_;
  bool fin_ = false;
  std::uint32_t ack_;
};

class Play {
 public:
  explicit Play(const Dialogue& dialogue) : random_(dialogue.seed), dialogue_(dialogue), stream_(dialogue.bytes) {
    for (auto& byte : stream_) byte = static_cast<std::byte>(random_());
  }

  /// One VM's segments in the order it sends them: cut at random, in a little disorder, with repetitions cut otherwise.
  std::vector<Sent> cut(std::uint32_t isn, const Bytes& stream) {
    std::vector<Sent> sent;
    const auto size = static_cast<std::uint32_t>(stream.size());
    for (std::uint32_t at = 0; at < size;) {
      const std::uint32_t end = std::min(size, at + 1 + below(below(4) == 0 ? 3 : 40));
      sent.push_back(segment(isn, stream, at, end, end == size));
      if (below(4) == 0) {
        const std::uint32_t from = below(end);
        sent.push_back(segment(isn, stream, from, from + 1 + below(end - from), false));
      }
      at = end;
    }
    for (std::size_t i = 0; i + 1 < sent.size(); ++i)
      if (below(3) == 0)
        std::swap(sent[i],
                  sent[i + 1 + below(static_cast<std::uint32_t>(std::min<std::size_t>(3, sent.size() - i - 1)))]);
    acknowledge(sent);
    return sent;
  }

  /// Sends both in a random interleaving and checks each release. `flip`: the position of a wrong bit in the SVM's
  /// copy.
  void run(std::uint32_t flip) {
    Bytes svm_stream = stream_;
    if (flip != kNoFlip) svm_stream[flip] ^= static_cast<std::byte>(1U << below(8));
    pvm_ = cut(dialogue_.pvm_isn, stream_);
    const auto svm = cut(dialogue_.svm_isn, svm_stream);
    Model model(stream_, dialogue_.first_ack);
    open();
    std::size_t p = 0;
    std::size_t s = 0;
    std::size_t checked = pair_.effects.size();
    while (p < pvm_.size() || s < svm.size()) {
      if (s == svm.size() || (p < pvm_.size() && below(2) == 0)) {
        frames_[pair_.pvm(pvm_[p].segment)] = &pvm_[p];
        ++p;
      } else {
        model.on_svm(svm[s]);
        // Any record but the last may be lost: the next one makes up for it.
        const auto record = pair_.svm_record(svm[s].segment);
        ++s;
        if (s == svm.size() || below(5) != 0) pair_.deliver(*record);
      }
      for (; checked < pair_.effects.size(); ++checked) {
        const auto* release = std::get_if<Release>(&pair_.effects[checked]);
        if (release == nullptr) continue;
        RC_ASSERT(frames_.contains(release->id));
        if (flip != kNoFlip) RC_ASSERT(frames_[release->id]->end <= flip);
        model.expect_covered(*frames_[release->id]);
      }
    }
  }

  /// Everything went out exactly once, and what is no repetition in order of arrival.
  void expect_all_released() {
    const auto ids = pair_.released();
    RC_ASSERT(ids.size() == frames_.size() + 1);  // and the SYN
    RC_ASSERT(std::set<FrameId>(ids.begin(), ids.end()).size() == ids.size());
    RC_ASSERT(!pair_.diverged());
    RC_ASSERT(pair_.comparer.stats().frames_held == 0U);
    FrameId last = 0;
    std::uint32_t out = 0;
    for (const FrameId id : ids) {
      if (!frames_.contains(id)) continue;
      const Sent& sent = *frames_[id];
      const bool repeats = sent.end + (sent.fin ? 1U : 0U) <= out;
      RC_ASSERT(repeats || id > last);
      if (!repeats) last = id;
      out = std::max(out, sent.end + (sent.fin ? 1U : 0U));
    }
  }

  Pair& pair() { return pair_; }
  std::uint32_t below(std::uint32_t n) { return static_cast<std::uint32_t>(random_() % n); }

 private:
  void open() {
    TestSegment syn{.seq = dialogue_.svm_isn, .ack = dialogue_.first_ack, .flags = kSyn | kAck, .mss = 1460};
    pair_.svm(syn);
    syn.seq = dialogue_.pvm_isn;
    pair_.pvm(syn);
  }

  static Sent segment(std::uint32_t isn, const Bytes& stream, std::uint32_t begin, std::uint32_t end, bool fin) {
    Sent sent{.begin = begin, .end = end, .fin = fin};
    sent.segment.seq = isn + 1 + begin;
    sent.segment.flags = static_cast<std::uint8_t>(kAck | (fin ? kFin : 0));
    sent.segment.payload.assign(stream.begin() + begin, stream.begin() + end);
    return sent;
  }

  /// Acknowledgements grow in the order of sending, at the two VMs' own paces, to the same end.
  void acknowledge(std::vector<Sent>& sent) {
    std::uint32_t ack = dialogue_.first_ack;
    for (auto& one : sent) one.segment.ack = ack = std::min(ack + below(50), dialogue_.first_ack + 400, seq_lt);
    sent.back().segment.ack = dialogue_.first_ack + 400;
  }

  std::mt19937_64 random_;
  Dialogue dialogue_;
  Bytes stream_;
  Pair pair_;
  std::vector<Sent> pvm_;
  std::map<FrameId, const Sent*> frames_;  // of pvm_
};

/// Numbers near the wrap-around as often as anywhere.
rc::Gen<std::uint32_t> sequence_number() {
  return rc::gen::oneOf(rc::gen::arbitrary<std::uint32_t>(), rc::gen::map(rc::gen::inRange<std::uint32_t>(0, 2000),
                                                                          [](std::uint32_t n) { return n - 1500; }));
}

Dialogue any_dialogue() {
  return {.seed = *rc::gen::arbitrary<std::uint32_t>(),
          .pvm_isn = *sequence_number(),
          .svm_isn = *sequence_number(),
          .first_ack = *sequence_number(),
          .bytes = *rc::gen::inRange<std::uint32_t>(1, 600)};
}

void check(const std::string& description, const std::function<void()>& property) {
  EXPECT_TRUE(rc::check(description, property));
}

TEST(Property, EqualStreamsAreReleasedInOrderExactlyOnceAndNeverTooEarly) {
  check("equal streams, cut and ordered differently, records lost", [] {
    Play play(any_dialogue());
    play.run(kNoFlip);
    play.expect_all_released();
  });
}

TEST(Property, OneWrongBitStopsTheStreamThere) {
  check("one wrong bit in the SVM's copy", [] {
    const Dialogue dialogue = any_dialogue();
    const auto flip = *rc::gen::inRange<std::uint32_t>(0, dialogue.bytes);
    Play play(dialogue);
    play.run(flip);
    RC_ASSERT(play.pair().diverged() == Cause::content);
    RC_ASSERT(play.pair().all<Diverged>().size() == 1U);
  });
}

/// A long-lived connection on which data and checkpoints alternate at random.
class LongLived {
 public:
  explicit LongLived(std::uint32_t seed, std::uint32_t start) : random_(seed), pvm_next_(start), svm_next_(start) {}

  void pvm_sends() {
    const auto size = 1 + below(30);
    pair_.pvm(segment(pvm_next_, size));
    pvm_next_ += size;
    ++sent_;
  }
  void svm_follows() {
    const auto size = std::min(1 + below(30), pvm_next_ - svm_next_);
    if (size == 0) return;
    pair_.svm(segment(svm_next_, size));
    svm_next_ += size;
  }
  /// What the SVM did on its own is void: its last record is wrong, is late, and must not count.
  void checkpoint() {
    TestSegment wrong = segment(svm_next_, 1 + below(30));
    wrong.payload.back() ^= std::byte{1};
    stale_ = std::pair(*pair_.svm_record(wrong), pair_.comparer.epoch());
    pair_.begin_epoch();
    svm_next_ = pvm_next_;
    const auto out = pair_.released().size();
    while (below(2) == 0) pvm_sends();
    deliver_stale();
    RC_ASSERT(pair_.released().size() == out);
    pair_.commit();
    pair_.run_svm();
  }
  void deliver_stale() {
    if (stale_) pair_.deliver(stale_->first, stale_->second);
  }
  void expect_all_released() {
    pair_.checkpoint();
    const auto ids = pair_.released();
    RC_ASSERT(ids.size() == sent_);
    RC_ASSERT(std::is_sorted(ids.begin(), ids.end()));
    RC_ASSERT(!pair_.diverged());
    RC_ASSERT(pair_.comparer.stats().frames_held == 0U);
  }
  std::uint32_t below(std::uint32_t n) { return static_cast<std::uint32_t>(random_() % n); }

 private:
  static TestSegment segment(std::uint32_t from, std::uint32_t size) {
    TestSegment segment{.seq = from};
    for (std::uint32_t seq = from; seq != from + size; ++seq)
      segment.payload.push_back(static_cast<std::byte>((seq * 2654435761U) >> 24));
    return segment;
  }

  std::mt19937_64 random_;
  std::uint32_t pvm_next_;
  std::uint32_t svm_next_;
  std::size_t sent_ = 0;
  std::optional<std::pair<ts_record, std::uint32_t>> stale_;
  Pair pair_;
};

TEST(Property, CheckpointsAtAnyMomentLoseAndRepeatNothing) {
  check("data, checkpoints and stale records", [] {
    LongLived flow(*rc::gen::arbitrary<std::uint32_t>(), *sequence_number());
    for (int step = 0; step < 200; ++step) {
      const auto choice = flow.below(10);
      if (choice == 0) {
        flow.checkpoint();
      } else if (choice == 1) {
        flow.deliver_stale();
      } else if (choice < 6) {
        flow.pvm_sends();
      } else {
        flow.svm_follows();
      }
    }
    flow.expect_all_released();
  });
}

}  // namespace
}  // namespace twinstep::compare
