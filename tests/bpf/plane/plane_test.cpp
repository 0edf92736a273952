// SPDX-License-Identifier: Apache-2.0
// Two planes, two guests played by the test at their taps, and a client behind a switch.
#include <gmock/gmock.h>

#include <condition_variable>
#include <mutex>
#include <thread>

#include "plane_fixture.hpp"

namespace twinstep::test {
namespace {

using compare::Cause;
using compare::Diverged;
using std::chrono::milliseconds;

constexpr std::uint32_t kPvmIsn = 1000;
constexpr std::uint32_t kSvmIsn = 0xfffff000;  // the stream wraps
constexpr std::uint32_t kClientIsn = 5000;
constexpr std::uint8_t kSyn = 0x02;
constexpr std::uint8_t kAck = 0x10;

std::uint32_t seq_of(const Bytes& frame) {
  return get32(frame, 38);
}
std::uint32_t ack_of(const Bytes& frame) {
  return get32(frame, 42);
}

class PlaneTest : public PlaneFixture {
 protected:
  void SetUp() override {
    PlaneFixture::SetUp();
    if (IsSkipped() || HasFatalFailure()) return;
    start('a', a_);
    start('b', b_);
    if (HasFatalFailure()) return;
    pair(a_, b_, 0);
    vm(a_).plane->direct();
    vm(b_).plane->standby();
    checkpoint(1);
  }

  static Guest& vm(Host& host) { return host.guests.front(); }
  Guest& a() { return vm(a_); }
  Guest& b() { return vm(b_); }

  void start(char name, Host& host) {
    PlaneFixture::start(name, host, std::span(&kVmMac, 1), [this](std::size_t /*vm*/, const Diverged& diverged) {
      const std::lock_guard lock(mutex_);
      diverged_ = diverged;
      has_diverged_.notify_all();
    });
  }

  void checkpoint(std::uint32_t epoch) { PlaneFixture::checkpoint(epoch, a(), b()); }

  /// The survivor of a failover gets a new secondary on the other host.
  void protect_again(Host& primary, char other, Host& secondary) {
    start(other, secondary);
    if (HasFatalFailure()) return;
    pair(primary, secondary, 0, 5);
    vm(secondary).plane->standby();
    PlaneFixture::checkpoint(1, vm(primary), vm(secondary));
  }

  std::optional<Diverged> wait_diverged() {
    std::unique_lock lock(mutex_);
    has_diverged_.wait_for(lock, std::chrono::seconds(3), [this] { return diverged_.has_value(); });
    return diverged_;
  }

  /// A client opens a connection that both guests accept, each with its own initial sequence number.
  void open_connection() {
    lab_->client_send(frame_of(Tcp{.from_vm = false, .seq = kClientIsn, .ack = 0, .flags = kSyn}));
    ASSERT_TRUE(a().receive());
    ASSERT_TRUE(b().receive());
    const Tcp answer{.ack = kClientIsn + 1, .flags = kSyn | kAck, .options = bytes_of({2, 4, 5, 0xb4})};
    a().send(with_seq(answer, kPvmIsn));
    b().send(with_seq(answer, kSvmIsn));
    const auto opened = lab_->client_receive();
    ASSERT_TRUE(opened);
    EXPECT_EQ(seq_of(*opened), kPvmIsn);
    client_says(kPvmIsn + 1);
  }

  static Bytes with_seq(Tcp tcp, std::uint32_t seq) {
    tcp.seq = seq;
    return frame_of(tcp);
  }

  /// The client acknowledges; each guest sees it in its own numbering.
  void client_says(std::uint32_t ack) {
    lab_->client_send(frame_of(Tcp{.from_vm = false, .seq = kClientIsn + 1, .ack = ack}));
    const auto at_a = a().receive();
    const auto at_b = b().receive();
    ASSERT_TRUE(at_a);
    ASSERT_TRUE(at_b);
    EXPECT_EQ(ack_of(*at_a), ack);
    EXPECT_EQ(ack_of(*at_b), ack - kPvmIsn + kSvmIsn);
    EXPECT_TRUE(checksums_right(*at_b));
  }

  /// A guest sends `stream` in segments of `segment_bytes`, from the byte after its SYN on, but for the first `at`
  /// bytes.
  static void guest_says(const Guest& guest, std::uint32_t isn, const Bytes& stream, std::size_t segment_bytes,
                         std::size_t at = 0) {
    for (; at < stream.size(); at += segment_bytes) {
      const auto rest = std::span(stream).subspan(at);
      const auto part = rest.first(std::min(rest.size(), segment_bytes));
      guest.send(frame_of(Tcp{.seq = isn + 1 + static_cast<std::uint32_t>(at),
                              .ack = kClientIsn + 1,
                              .payload = Bytes(part.begin(), part.end())}));
    }
  }

  /// What the client gets of the stream, put together by sequence number, until it is whole or nothing comes any more.
  Bytes client_hears(std::size_t bytes, milliseconds patience = std::chrono::seconds(2)) {
    Bytes stream;
    client_hears_on(stream, bytes, patience);
    return stream;
  }

  /// The same, after what it has got already.
  void client_hears_on(Bytes& stream, std::size_t bytes, milliseconds patience = std::chrono::seconds(2)) {
    while (stream.size() < bytes) {
      const auto frame = lab_->client_receive(patience);
      if (!frame) break;
      if (get16(*frame, 12) != 0x0800 || frame->size() <= 54) continue;
      EXPECT_TRUE(checksums_right(*frame));
      EXPECT_EQ(seq_of(*frame), kPvmIsn + 1 + stream.size());
      stream.insert(stream.end(), frame->begin() + 54, frame->end());
    }
  }

  void svm_leads(const Bytes& stream, std::size_t from);

  std::mutex mutex_;
  std::condition_variable has_diverged_;
  std::optional<Diverged> diverged_;
  Host a_, b_;
};

TEST_F(PlaneTest, TheClientGetsThePvmsStreamOnceTheSvmAgrees) {
  open_connection();
  const Bytes stream = pattern(20000);
  guest_says(a(), kPvmIsn, stream, 1000);
  EXPECT_FALSE(lab_->client_receive(kQuiet)) << "nothing may leave before the SVM has produced it";
  guest_says(b(), kSvmIsn, stream, 700);
  EXPECT_EQ(client_hears(stream.size()), stream);
  EXPECT_FALSE(diverged_) << diverged_->detail;
  const auto stats = a().plane->stats();
  EXPECT_EQ(stats.compare.bytes_matched, stream.size());
  EXPECT_EQ(stats.compare.frames_held, 0U);
  EXPECT_EQ(stats.frames_unsent, 0U);
  EXPECT_EQ(stats.record_frames_lost, 0U);
}

/// The SVM says this; when it returns, the primary's XDP programs have the connection, and all of it.
void PlaneTest::svm_leads(const Bytes& stream, std::size_t from) {
  const auto sent = b().plane->stats().records_sent + (stream.size() - from + 999) / 1000;
  guest_says(b(), kSvmIsn, stream, 1000, from);
  // Records are counted when they are sent: they have come once none has come for a while.
  constexpr int kRestedPolls = 20;
  std::uint64_t came = 0;
  int rested = 0;
  for (int i = 0; i < 400 && rested < kRestedPolls; ++i) {
    std::this_thread::sleep_for(milliseconds(10));
    const auto stats = a().plane->stats();
    const auto now = stats.xdp.count[TS_COUNT_LINK_RECORDS] + stats.xdp.count[TS_COUNT_LINK_MATCHED];
    const bool is_there = b().plane->stats().records_sent == sent && stats.compare.flows_lent == 1;
    rested = is_there && now == came ? rested + 1 : 0;
    came = now;
  }
  ASSERT_EQ(rested, kRestedPolls) << "the programs don't have the connection";
}

TEST_F(PlaneTest, WhatTheSvmHasSaidLeavesByTheKernel) {
  open_connection();
  const Bytes stream = pattern(40000);
  const auto upto = [&](std::size_t bytes) { return Bytes(stream.begin(), stream.begin() + static_cast<long>(bytes)); };
  guest_says(a(), kPvmIsn, upto(1000), 1000);
  guest_says(b(), kSvmIsn, upto(1000), 1000);
  Bytes heard = client_hears(1000);

  ASSERT_NO_FATAL_FAILURE(svm_leads(upto(10000), 1000));
  guest_says(a(), kPvmIsn, upto(10000), 1000, 1000);
  client_hears_on(heard, 10000);
  EXPECT_EQ(heard, upto(10000));
  auto stats = a().plane->stats();
  // Most of the nine; what meets the programs at work on the connection is let out by user space.
  EXPECT_GT(stats.xdp.count[TS_COUNT_TAP_MATCHED], 0U);
  EXPECT_EQ(stats.compare.bytes_matched, 10000U);
  EXPECT_EQ(stats.compare.frames_held, 0U);

  // The PVM is ahead now: user space holds its frames.
  guest_says(a(), kPvmIsn, upto(15000), 1000, 10000);
  EXPECT_FALSE(lab_->client_receive(kQuiet)) << "nothing may leave before the SVM has produced it";
  guest_says(b(), kSvmIsn, upto(15000), 700, 10000);
  client_hears_on(heard, 15000);

  // A checkpoint takes the connection from the programs, which let nothing out of the new epoch before the SVM spoke.
  ASSERT_NO_FATAL_FAILURE(svm_leads(upto(20000), 15000));
  guest_says(a(), kPvmIsn, upto(18000), 1000, 15000);
  client_hears_on(heard, 18000);
  checkpoint(2);
  guest_says(a(), kPvmIsn, upto(20000), 1000, 18000);
  EXPECT_FALSE(lab_->client_receive(kQuiet));
  guest_says(b(), kPvmIsn, upto(20000), 1000, 18000);  // its state is the PVM's now
  client_hears_on(heard, 20000);
  EXPECT_EQ(heard, upto(20000));
  EXPECT_FALSE(diverged_) << diverged_->detail;
  EXPECT_EQ(a().plane->stats().record_frames_lost, 0U);
}

TEST_F(PlaneTest, AByteThatDiffersFromWhatTheSvmSaidStaysHere) {
  open_connection();
  const Bytes stream = pattern(6000);
  const Bytes first(stream.begin(), stream.begin() + 1000);
  guest_says(a(), kPvmIsn, first, 1000);
  guest_says(b(), kSvmIsn, first, 1000);
  Bytes heard = client_hears(1000);
  ASSERT_NO_FATAL_FAILURE(svm_leads(stream, 1000));
  Bytes flipped = stream;
  flipped[3500] ^= std::byte{1};
  guest_says(a(), kPvmIsn, flipped, 1000, 1000);
  const auto diverged = wait_diverged();
  ASSERT_TRUE(diverged);
  EXPECT_EQ(diverged->cause, Cause::content) << diverged->detail;
  client_hears_on(heard, stream.size(), kQuiet);
  EXPECT_EQ(heard, Bytes(stream.begin(), stream.begin() + 3000));
  const auto matched = a().plane->stats().xdp.count[TS_COUNT_TAP_MATCHED];
  EXPECT_GT(matched, 0U);
  EXPECT_LE(matched, 2U) << "neither the flipped byte nor what is behind it";
}

TEST_F(PlaneTest, AFlippedByteDivergesAndNothingOfItLeavesBeforeTheCheckpoint) {
  open_connection();
  const Bytes stream = pattern(5000);
  Bytes flipped = stream;
  flipped[2500] ^= std::byte{1};
  guest_says(a(), kPvmIsn, stream, 1000);
  guest_says(b(), kSvmIsn, flipped, 1000);
  const auto diverged = wait_diverged();
  ASSERT_TRUE(diverged);
  EXPECT_EQ(diverged->cause, Cause::content) << diverged->detail;
  const Bytes agreed = client_hears(stream.size(), kQuiet);
  EXPECT_EQ(agreed, Bytes(stream.begin(), stream.begin() + 2000));

  checkpoint(2);
  Bytes whole = agreed;
  while (whole.size() < stream.size()) {
    const auto frame = lab_->client_receive();
    ASSERT_TRUE(frame);
    EXPECT_EQ(seq_of(*frame), kPvmIsn + 1 + whole.size());
    whole.insert(whole.end(), frame->begin() + 54, frame->end());
  }
  EXPECT_EQ(whole, stream);
}

TEST_F(PlaneTest, InputOfAPausedPvmReachesBothOnce) {
  const auto request = [](std::uint32_t seq) {
    return frame_of(Tcp{.from_vm = false, .seq = seq, .payload = pattern(10)});
  };
  lab_->client_send(request(1));
  ASSERT_TRUE(b().receive());  // the SVM consumed it; its rollback undoes that
  ASSERT_TRUE(b().plane->standby_stop(2));
  const auto flows = a().plane->begin_epoch(2);  // the PVM has not
  lab_->client_send(request(2));
  EXPECT_FALSE(a().receive(kQuiet)) << "the gate is shut";
  EXPECT_FALSE(b().receive(milliseconds(0)));
  a().plane->resume_input();
  a().plane->commit(2);
  b().plane->standby_begin(2, flows);
  lab_->client_send(request(3));
  for (const std::uint32_t seq : {1U, 2U, 3U}) {
    const auto at_a = a().receive();
    const auto at_b = b().receive();
    ASSERT_TRUE(at_a && at_b) << seq;
    EXPECT_EQ(*at_a, request(seq));
    EXPECT_EQ(*at_b, request(seq));
  }
}

TEST_F(PlaneTest, WhatComesAroundAStopReachesBothOnce) {
  const auto request = [](std::uint32_t seq) {
    return frame_of(Tcp{.from_vm = false, .seq = seq, .payload = pattern(10)});
  };
  lab_->client_send(request(1));
  ASSERT_TRUE(b().receive());
  b().plane->shut_input();
  ASSERT_TRUE(b().plane->standby_stop(2));
  a().plane->shut_input();  // the PVM has not read the first
  lab_->client_send(request(2));
  EXPECT_FALSE(a().receive(kQuiet)) << "its QEMU must find nothing to read from here on";
  const auto flows = a().plane->begin_epoch(2);
  a().plane->resume_input();
  a().plane->commit(2);
  b().plane->standby_begin(2, flows);
  for (const std::uint32_t seq : {1U, 2U}) {
    const auto at_a = a().receive();
    const auto at_b = b().receive();
    ASSERT_TRUE(at_a && at_b) << seq;
    EXPECT_EQ(*at_a, request(seq));
    EXPECT_EQ(*at_b, request(seq));
  }
}

TEST_F(PlaneTest, AStopThatFailedLosesNoInput) {
  const Bytes request = frame_of(Tcp{.from_vm = false, .payload = pattern(10)});
  a().plane->shut_input();
  lab_->client_send(request);
  EXPECT_FALSE(a().receive(kQuiet));
  a().plane->resume_input();
  EXPECT_EQ(a().receive(), request);
  EXPECT_EQ(b().receive(), request);
}

TEST_F(PlaneTest, AStopThatFailedBeforeTheFirstCheckpointLosesNoInput) {
  const Bytes request = frame_of(Tcp{.from_vm = false, .payload = pattern(10)});
  a().plane->direct();
  a().plane->shut_input();
  lab_->client_send(request);
  lab_->client_send(ethernet(kBroadcast, kClientMac, 0x0806, pattern(46)));
  EXPECT_FALSE(a().receive(kQuiet));
  a().plane->resume_input();
  EXPECT_TRUE(a().receive());
  EXPECT_TRUE(a().receive());
  lab_->client_send(request);
  EXPECT_EQ(a().receive(), request);
  EXPECT_FALSE(b().receive(kQuiet)) << "nobody is protected";
}

TEST_F(PlaneTest, AnSvmThatIsAboutToStopGetsNothingAndIsStillHeard) {
  lab_->client_send(frame_of(Tcp{.from_vm = false, .seq = kClientIsn, .ack = 0, .flags = kSyn}));
  ASSERT_TRUE(a().receive());
  ASSERT_TRUE(b().receive());
  b().plane->shut_input();
  // Its SYN-ACK counts: the checkpoint may fail, and the SVM go on.
  const Tcp answer{.ack = kClientIsn + 1, .flags = kSyn | kAck, .options = bytes_of({2, 4, 5, 0xb4})};
  a().send(with_seq(answer, kPvmIsn));
  b().send(with_seq(answer, kSvmIsn));
  ASSERT_TRUE(lab_->client_receive());
  const Bytes request = frame_of(Tcp{.from_vm = false, .seq = kClientIsn + 1, .ack = kPvmIsn, .payload = pattern(9)});
  lab_->client_send(request);
  EXPECT_TRUE(a().receive());
  EXPECT_FALSE(b().receive(kQuiet));
  EXPECT_FALSE(b().plane->occupy_reader()) << "nobody reads it here";
  ASSERT_TRUE(b().plane->standby_stop(2));
  EXPECT_FALSE(b().tap->unread()) << "the decoy must not stay";
  b().plane->standby_return();
  client_says(kPvmIsn + 1);
}

TEST_F(PlaneTest, GroupFramesReachBothVms) {
  const Bytes asks = ethernet(kBroadcast, kClientMac, 0x0806, pattern(46));
  const Bytes tagged =
      ethernet(kBroadcast, kClientMac, 0x8100, concat({bytes_of({0x30, 0x05, 0x08, 0x06}), pattern(46)}));
  for (const Bytes& frame : {asks, tagged}) {
    lab_->client_send(frame);
    const auto at_a = a().receive();
    const auto at_b = b().receive();
    ASSERT_TRUE(at_a && at_b);
    EXPECT_EQ(*at_a, frame);
    EXPECT_EQ(*at_b, frame);
  }
  ASSERT_TRUE(b().plane->standby_stop(2));
  const auto bases = a().plane->begin_epoch(2);
  lab_->client_send(asks);
  EXPECT_FALSE(a().receive(kQuiet)) << "the gate is shut";
  a().plane->resume_input();
  a().plane->commit(2);
  b().plane->standby_begin(2, bases);
  EXPECT_TRUE(a().receive());
  EXPECT_TRUE(b().receive());
}

TEST_F(PlaneTest, FramesOfAnOldEpochAreNothingToTheSvm) {
  ASSERT_TRUE(b().plane->standby_stop(2));
  lab_->client_send(frame_of(Tcp{.from_vm = false}));
  EXPECT_TRUE(a().receive());
  EXPECT_FALSE(b().receive(kQuiet));
  EXPECT_GE(b().plane->stats().xdp.count[TS_COUNT_LINK_STALE], 1U);
}

TEST_F(PlaneTest, AnSvmWhoseCheckpointFailedGoesOnInItsEpoch) {
  ASSERT_TRUE(b().plane->standby_stop(2));
  const auto request = [](std::uint32_t seq) {
    return frame_of(Tcp{.from_vm = false, .seq = seq, .payload = pattern(10)});
  };
  lab_->client_send(request(1));
  EXPECT_TRUE(a().receive());
  b().plane->standby_return();
  lab_->client_send(request(2));
  EXPECT_TRUE(a().receive());
  const auto at_b = b().receive();
  ASSERT_TRUE(at_b);
  EXPECT_EQ(*at_b, request(2));
}

TEST_F(PlaneTest, TakeOverSendsWhatTheClientLacksAndGoesOn) {
  open_connection();
  const Bytes stream = pattern(6000);
  const Bytes known(stream.begin(), stream.begin() + 2000);
  guest_says(a(), kPvmIsn, known, 1000);
  guest_says(b(), kSvmIsn, stream, 1000);
  EXPECT_EQ(client_hears(known.size()), known);
  client_says(kPvmIsn + 1 + 2000);
  a().plane.reset();  // host a is gone, with everything that its process held

  const auto stats = b().plane->take_over();
  EXPECT_EQ(stats.flows, 1U);
  EXPECT_EQ(stats.flows_rewritten, 1U);
  EXPECT_EQ(stats.frames_replayed, 4U);
  Bytes heard = known;
  int announcements = 0;
  while (heard.size() < stream.size() || announcements < 3) {
    const auto frame = lab_->client_receive();
    ASSERT_TRUE(frame) << heard.size() << " bytes, " << announcements << " announcements";
    if (get16(*frame, 12) == 0x8035) {
      ++announcements;
      continue;
    }
    EXPECT_TRUE(checksums_right(*frame));
    EXPECT_EQ(seq_of(*frame), kPvmIsn + 1 + heard.size());
    heard.insert(heard.end(), frame->begin() + 54, frame->end());
  }
  EXPECT_EQ(heard, stream);

  lab_->client_send(frame_of(Tcp{.from_vm = false, .seq = kClientIsn + 1, .ack = kPvmIsn + 1 + 6000}));
  const auto acknowledged = b().receive();
  ASSERT_TRUE(acknowledged);
  EXPECT_EQ(ack_of(*acknowledged), kSvmIsn + 1 + 6000);
  b().send(frame_of(Tcp{.seq = kSvmIsn + 6001, .ack = kClientIsn + 1, .payload = pattern(10)}));
  const auto goes_on = lab_->client_receive();
  ASSERT_TRUE(goes_on);
  EXPECT_EQ(seq_of(*goes_on), kPvmIsn + 6001);
  EXPECT_TRUE(checksums_right(*goes_on));
}

TEST_F(PlaneTest, AConnectionOutlivesFailoversWithProtectionBetween) {
  // Each round the survivor's VM is protected again: input is in its numbers on both hosts, output in the client's.
  const auto client_asks = [this](std::uint32_t ack, const Guest& primary, const Guest& secondary,
                                  std::uint32_t wanted) {
    lab_->client_send(
        frame_of(Tcp{.from_vm = false, .seq = kClientIsn + 1, .ack = ack, .options = timestamps(9, 900)}));
    for (const Guest* guest : {&primary, &secondary}) {
      const auto got = guest->receive();
      ASSERT_TRUE(got);
      EXPECT_EQ(ack_of(*got), wanted);
      EXPECT_TRUE(checksums_right(*got));
    }
  };
  const auto both_say = [this](std::uint32_t at, std::uint32_t wanted, const Guest& primary, const Guest& secondary) {
    const Tcp tcp{.seq = at, .ack = kClientIsn + 1, .options = timestamps(1000, 9), .payload = pattern(100)};
    primary.send(frame_of(tcp));
    EXPECT_FALSE(lab_->client_receive(kQuiet));
    secondary.send(frame_of(tcp));
    const auto heard = lab_->client_receive();
    ASSERT_TRUE(heard);
    EXPECT_EQ(seq_of(*heard), wanted);
    EXPECT_GE(get32(*heard, 58), 1000U);
    EXPECT_TRUE(checksums_right(*heard));
  };
  open_connection();
  guest_says(a(), kPvmIsn, pattern(500), 500);
  guest_says(b(), kSvmIsn, pattern(500), 500);
  EXPECT_EQ(client_hears(500).size(), 500U);
  Host* primary = &a_;
  Host* secondary = &b_;
  std::uint32_t said = 501;
  for (const char lost : {'a', 'b', 'a'}) {
    SCOPED_TRACE(lost);
    vm(*primary).plane.reset();
    vm(*secondary).plane->take_over();
    while (lab_->client_receive(kQuiet)) continue;  // announcements, and what the client may lack
    std::swap(primary, secondary);
    protect_again(*primary, lost, *secondary);
    ASSERT_FALSE(HasFatalFailure());
    client_asks(kPvmIsn + said, vm(*primary), vm(*secondary), kSvmIsn + said);
    both_say(kSvmIsn + said, kPvmIsn + said, vm(*primary), vm(*secondary));
    said += 100;
  }
  // The port is used again: the new connection is told as it is.
  const Tcp answer{.ack = kClientIsn + 9000, .flags = kSyn | kAck, .options = bytes_of({2, 4, 5, 0xb4})};
  vm(*primary).send(with_seq(answer, 40000));
  vm(*secondary).send(with_seq(answer, 40000));
  const auto opened = lab_->client_receive();
  ASSERT_TRUE(opened);
  EXPECT_EQ(seq_of(*opened), 40000U);
  client_asks(40001, vm(*primary), vm(*secondary), 40001);
}

TEST_F(PlaneTest, SoloReleasesWhatIsHeldAndPassesFramesBothWays) {
  open_connection();
  const Bytes stream = pattern(3000);
  guest_says(a(), kPvmIsn, stream, 1000);
  EXPECT_FALSE(lab_->client_receive(kQuiet));
  a().plane->release_all_and_direct();
  EXPECT_EQ(client_hears(stream.size()), stream);
  lab_->client_send(frame_of(Tcp{.from_vm = false}));
  EXPECT_TRUE(a().receive());
  a().send(frame_of(Tcp{.seq = 42}));
  const auto direct = lab_->client_receive();
  ASSERT_TRUE(direct);
  EXPECT_EQ(seq_of(*direct), 42U);
}

TEST_F(PlaneTest, TheLoserOfTheVmSaysNothingMore) {
  open_connection();
  guest_says(a(), kPvmIsn, pattern(3000), 1000);
  EXPECT_FALSE(lab_->client_receive(kQuiet));
  const auto before = a().plane->stats().umem_free;
  EXPECT_EQ(a().plane->discard_and_close(), 3U);
  EXPECT_EQ(a().plane->stats().umem_free, before + 3) << "dropped frames must give their memory back";
  a().send(frame_of(Tcp{.seq = 42}));
  EXPECT_FALSE(lab_->client_receive(kQuiet));
  lab_->client_send(frame_of(Tcp{.from_vm = false}));
  EXPECT_FALSE(a().receive(kQuiet));
}

}  // namespace
}  // namespace twinstep::test
