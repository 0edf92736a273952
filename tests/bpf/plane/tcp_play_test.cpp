// SPDX-License-Identifier: Apache-2.0
// The plays of TCP, end to end through two planes.
#include <condition_variable>
#include <mutex>
#include <thread>

#include "layers.hpp"
#include "plane_fixture.hpp"
#include "tcp_play.hpp"

namespace twinstep::test {
namespace {

using compare::Cause;
using std::chrono::milliseconds;

constexpr std::uint8_t kUnreachable4 = 3;
constexpr std::uint8_t kUnreachable6 = 1;

Bytes options_of(const Line& line, const Origin& speaker, const Origin& other) {
  const bool answers = (line.flags & kAck) != 0;
  Bytes options = line.options;
  if (line.times)
    options = concat(
        {options, timestamps(speaker.clock + line.times->first, answers ? other.clock + line.times->second : 0)});
  if (line.sacks.empty()) return options;
  Bytes blocks = bytes_of({1, 1, 5, static_cast<int>(2 + 8 * line.sacks.size())});
  for (const auto& [left, right] : line.sacks) {
    Bytes block(8);
    put32(block, 0, other.isn + left);
    put32(block, 4, other.isn + right);
    blocks = concat({blocks, block});
  }
  return concat({options, blocks});
}

Bytes packet_of_line(const Line& line, Ends ends, const Origin& speaker, const Origin& other) {
  const Bytes segment = segment_of({.ends = ends,
                                    .seq = speaker.isn + line.seq,
                                    .ack = (line.flags & kAck) != 0 ? other.isn + line.ack : 0,
                                    .flags = line.flags,
                                    .window = line.window,
                                    .urgent = line.urgent,
                                    .options = options_of(line, speaker, other),
                                    .payload = concat({std::as_bytes(std::span(line.text))})});
  return ends.family == 6 ? packet_of(Ip6{.ends = ends, .next = 6}, segment)
                          : packet_of(Ip4{.ends = ends, .protocol = 6}, segment);
}

/// The step's frame between the client and a VM that counts like `vm`.
Bytes frame_of_step(const Step& step, unsigned family, bool to_vm, const Origin& client, const Origin& vm) {
  const Ends ends{.family = family, .to_vm = to_vm};
  const Origin& speaker = to_vm ? client : vm;
  const Origin& other = to_vm ? vm : client;
  if (!step.quoted) return frame_of(ends, packet_of_line(step.line, ends, speaker, other));
  const Bytes quoted = packet_of_line(step.line, {.family = family, .to_vm = !to_vm}, other, speaker);
  if (family == 6)
    return frame_of(ends, packet_of(Ip6{.ends = ends, .next = 58}, icmp_of(ends, kUnreachable6, 0, quoted)));
  return frame_of(ends, packet_of(Ip4{.ends = ends, .protocol = 1}, icmp_of(ends, kUnreachable4, 0, quoted)));
}

class TcpPlayTest : public ProtectedVmFixture, public ::testing::WithParamInterface<Play> {
 protected:
  void on_diverged(const compare::Diverged& diverged) override {
    const std::lock_guard lock(mutex_);
    diverged_ = diverged.cause;
    has_diverged_.notify_all();
  }

  Bytes frame(const Step& step, bool to_vm, const Origin& vm) const {
    return frame_of_step(step, GetParam().family, to_vm, now_.client, vm);
  }

  void client_says(const Step& step) {
    const Bytes said = frame(step, true, now_.pvm);
    lab_->client_send(said);
    EXPECT_EQ(pvm().receive(), said);
    EXPECT_EQ(svm().receive(), frame(step, true, now_.svm));
  }

  /// When it returns, its record is there.
  void svm_says(const Step& step) {
    const auto arrived = [this] {
      const auto stats = pvm().plane->stats();
      return stats.xdp.count[TS_COUNT_LINK_MATCHED] + stats.xdp.count[TS_COUNT_LINK_RECORDS];
    };
    const auto before = arrived();
    svm().send(frame(step, false, now_.svm));
    for (int i = 0; i < 100 && arrived() == before; ++i) std::this_thread::sleep_for(milliseconds(5));
    ASSERT_GT(arrived(), before) << "the SVM's word must have come";
  }

  std::optional<Cause> diverged(milliseconds patience) {
    std::unique_lock lock(mutex_);
    has_diverged_.wait_for(lock, patience, [this] { return diverged_.has_value(); });
    return std::exchange(diverged_, std::nullopt);
  }

  void carry_out(const Step& step) {
    switch (step.act) {
      case Step::Act::client:
        return client_says(step);
      case Step::Act::pvm:
        return pvm().send(frame(step, false, now_.pvm));
      case Step::Act::svm:
        return svm_says(step);
      case Step::Act::out:
        EXPECT_EQ(lab_->client_receive(), frame(step, false, now_.pvm));
        return;
      case Step::Act::quiet:
        EXPECT_FALSE(lab_->client_receive(kQuiet));
        return;
      case Step::Act::diverges:
        EXPECT_EQ(diverged(std::chrono::seconds(3)), step.cause);
        return;
      case Step::Act::checkpoint:
        checkpoint();
        now_.svm = now_.pvm;
        return;
      case Step::Act::recount:
        now_ = step.origins;
        return;
    }
  }

  std::mutex mutex_;
  std::condition_variable has_diverged_;
  std::optional<Cause> diverged_;
  Origins now_ = GetParam().origins;
};

TEST_P(TcpPlayTest, TheClientHearsWhatBothSay) {
  int number = 0;
  for (const Step& step : GetParam().steps) {
    SCOPED_TRACE("step " + std::to_string(++number));
    ASSERT_NO_FATAL_FAILURE(carry_out(step));
  }
  EXPECT_FALSE(lab_->client_receive(kQuiet)) << "more than the play says";
  EXPECT_FALSE(diverged(milliseconds(0)));
  EXPECT_EQ(pvm().plane->stats().record_frames_lost, 0U);
}

INSTANTIATE_TEST_SUITE_P(Plays, TcpPlayTest, ::testing::ValuesIn(tcp_plays()),
                         [](const auto& play) { return play.param.name; });

}  // namespace
}  // namespace twinstep::test
