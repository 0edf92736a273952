// SPDX-License-Identifier: Apache-2.0
// Two planes, two guests played by the test at their taps, and a client behind a switch.
#include "daemon/plane/plane.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <unistd.h>

#include <condition_variable>
#include <mutex>
#include <thread>

#include "daemon/plane/fabric.hpp"
#include "net_lab.hpp"

namespace twinstep::test {
namespace {

using compare::Cause;
using compare::Diverged;
using daemon::Plane;
using daemon::PlaneConfig;
using std::chrono::milliseconds;

constexpr std::uint16_t kVmId = 7;
constexpr std::uint32_t kUmemFrames = 16384;
constexpr std::uint32_t kPvmIsn = 1000;
constexpr std::uint32_t kSvmIsn = 0xfffff000;  // the stream wraps
constexpr std::uint32_t kClientIsn = 5000;
constexpr std::uint8_t kSyn = 0x02;
constexpr std::uint8_t kAck = 0x10;
constexpr milliseconds kQuiet{150};

/// One host: its tap, played by the test as the guest, and its plane.
struct Host {
  std::unique_ptr<daemon::Fabric> fabric;
  std::optional<io::Tap> tap;
  std::unique_ptr<Plane> plane;
  io::MacAddress link_mac{};

  void guest_send(const Bytes& frame) const {
    ASSERT_EQ(::write(tap->fd(), frame.data(), frame.size()), static_cast<ssize_t>(frame.size()));
  }
  /// The next frame of the client; the switch has a word of its own now and then.
  std::optional<Bytes> guest_receive(milliseconds patience = std::chrono::seconds(2)) const {
    for (;;) {
      pollfd entry{tap->fd(), POLLIN, 0};
      if (::poll(&entry, 1, static_cast<int>(patience.count())) != 1) return std::nullopt;
      Bytes frame(4096);
      const auto bytes = ::read(tap->fd(), frame.data(), frame.size());
      if (bytes <= 0) return std::nullopt;
      frame.resize(static_cast<std::size_t>(bytes));
      if (comes_from(frame, kClientMac)) return frame;
    }
  }
};

std::uint32_t seq_of(const Bytes& frame) {
  return get32(frame, 38);
}
std::uint32_t ack_of(const Bytes& frame) {
  return get32(frame, 42);
}

class PlaneTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (::geteuid() != 0) GTEST_SKIP() << "needs root: CAP_NET_ADMIN and CAP_BPF for namespaces and XDP";
    lab_.emplace();
    ASSERT_EQ(lab_->failure(), "");
    start('a', a_);
    start('b', b_);
    if (HasFatalFailure()) return;
    const Bytes seed = pattern(16, 4);
    const auto key = compare::DigestKey::from_seed(std::span<const std::byte, 16>(seed));
    ASSERT_TRUE(a_.plane->pair(key, kVmId, b_.link_mac));
    ASSERT_TRUE(b_.plane->pair(key, kVmId, a_.link_mac));
    a_.plane->set_hold(20 * kSecond);  // no stall may come between a test's steps
    a_.plane->direct();
    b_.plane->standby();
    checkpoint(1);
  }

  void start(char name, Host& host) {
    lab_->in(name, [&] {
      auto tap = io::Tap::create("tap", 1500, io::GuestOffloads::off);
      ASSERT_TRUE(tap) << tap.error().message;
      host.tap.emplace(std::move(*tap));
      const auto mac = io::device_mac("link0");
      ASSERT_TRUE(mac) << mac.error().message;
      host.link_mac = *mac;
      host.fabric.reset();  // a host has one
      auto fabric = daemon::Fabric::create("link0", {{"uplink0", kVmMac, kUmemFrames}});
      ASSERT_TRUE(fabric) << fabric.error().message;
      host.fabric = std::move(*fabric);
      PlaneConfig config;
      config.uplink = "uplink0";
      config.vm_mac = kVmMac;
      config.vm_id = kVmId;
      config.limits.lent_flows_max = 16;
      auto plane =
          Plane::create(config, *host.fabric, *host.tap, [this](std::uint32_t /*epoch*/, const Diverged& diverged) {
            const std::lock_guard lock(mutex_);
            diverged_ = diverged;
            has_diverged_.notify_all();
          });
      ASSERT_TRUE(plane) << plane.error().message;
      host.plane = std::move(*plane);
    });
  }

  /// A whole checkpoint, as the daemons drive it.
  void checkpoint(std::uint32_t epoch) { checkpoint(epoch, a_, b_); }
  static void checkpoint(std::uint32_t epoch, const Host& primary, const Host& secondary) {
    ASSERT_TRUE(secondary.plane->standby_stop(epoch));
    const auto flows = primary.plane->begin_epoch(epoch);
    primary.plane->resume_input();
    primary.plane->commit(epoch);
    secondary.plane->standby_begin(epoch, flows);
    primary.plane->svm_running(epoch);
  }

  /// The survivor of a failover gets a new secondary on the other host.
  void protect_again(Host& primary, char other, Host& secondary) {
    secondary.plane.reset();
    secondary.tap.reset();
    start(other, secondary);
    if (HasFatalFailure()) return;
    const Bytes seed = pattern(16, 5);
    const auto key = compare::DigestKey::from_seed(std::span<const std::byte, 16>(seed));
    ASSERT_TRUE(primary.plane->pair(key, kVmId, secondary.link_mac));
    ASSERT_TRUE(secondary.plane->pair(key, kVmId, primary.link_mac));
    primary.plane->set_hold(20 * kSecond);
    secondary.plane->standby();
    checkpoint(1, primary, secondary);
  }

  std::optional<Diverged> wait_diverged() {
    std::unique_lock lock(mutex_);
    has_diverged_.wait_for(lock, std::chrono::seconds(3), [this] { return diverged_.has_value(); });
    return diverged_;
  }

  /// A client opens a connection that both guests accept, each with its own initial sequence number.
  void open_connection() {
    lab_->client_send(frame_of(Tcp{.from_vm = false, .seq = kClientIsn, .ack = 0, .flags = kSyn}));
    ASSERT_TRUE(a_.guest_receive());
    ASSERT_TRUE(b_.guest_receive());
    const Tcp answer{.ack = kClientIsn + 1, .flags = kSyn | kAck, .options = bytes_of({2, 4, 5, 0xb4})};
    a_.guest_send(with_seq(answer, kPvmIsn));
    b_.guest_send(with_seq(answer, kSvmIsn));
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
    const auto at_a = a_.guest_receive();
    const auto at_b = b_.guest_receive();
    ASSERT_TRUE(at_a);
    ASSERT_TRUE(at_b);
    EXPECT_EQ(ack_of(*at_a), ack);
    EXPECT_EQ(ack_of(*at_b), ack - kPvmIsn + kSvmIsn);
    EXPECT_TRUE(checksums_right(*at_b));
  }

  /// A guest sends `stream` in segments of `segment_bytes`, from the byte after its SYN on, but for the first `at`
  /// bytes.
  static void guest_says(const Host& host, std::uint32_t isn, const Bytes& stream, std::size_t segment_bytes,
                         std::size_t at = 0) {
    for (; at < stream.size(); at += segment_bytes) {
      const auto rest = std::span(stream).subspan(at);
      const auto part = rest.first(std::min(rest.size(), segment_bytes));
      host.guest_send(frame_of(Tcp{.seq = isn + 1 + static_cast<std::uint32_t>(at),
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

  std::optional<NetLab> lab_;
  std::mutex mutex_;
  std::condition_variable has_diverged_;
  std::optional<Diverged> diverged_;
  Host a_, b_;
};

TEST_F(PlaneTest, TheClientGetsThePvmsStreamOnceTheSvmAgrees) {
  open_connection();
  const Bytes stream = pattern(20000);
  guest_says(a_, kPvmIsn, stream, 1000);
  EXPECT_FALSE(lab_->client_receive(kQuiet)) << "nothing may leave before the SVM has produced it";
  guest_says(b_, kSvmIsn, stream, 700);
  EXPECT_EQ(client_hears(stream.size()), stream);
  EXPECT_FALSE(diverged_) << diverged_->detail;
  const auto stats = a_.plane->stats();
  EXPECT_EQ(stats.compare.bytes_matched, stream.size());
  EXPECT_EQ(stats.compare.frames_held, 0U);
  EXPECT_EQ(stats.frames_unsent, 0U);
  EXPECT_EQ(stats.record_frames_lost, 0U);
}

/// The SVM says this; when it returns, the primary's XDP programs have the connection, and all of it.
void PlaneTest::svm_leads(const Bytes& stream, std::size_t from) {
  const auto sent = b_.plane->stats().records_sent + (stream.size() - from + 999) / 1000;
  guest_says(b_, kSvmIsn, stream, 1000, from);
  const auto is_there = [&] {
    return b_.plane->stats().records_sent == sent && a_.plane->stats().compare.flows_lent == 1;
  };
  for (int i = 0; i < 200 && !is_there(); ++i) std::this_thread::sleep_for(milliseconds(10));
  ASSERT_TRUE(is_there());
}

TEST_F(PlaneTest, WhatTheSvmHasSaidLeavesByTheKernel) {
  open_connection();
  const Bytes stream = pattern(40000);
  const auto upto = [&](std::size_t bytes) { return Bytes(stream.begin(), stream.begin() + static_cast<long>(bytes)); };
  guest_says(a_, kPvmIsn, upto(1000), 1000);
  guest_says(b_, kSvmIsn, upto(1000), 1000);
  Bytes heard = client_hears(1000);

  ASSERT_NO_FATAL_FAILURE(svm_leads(upto(10000), 1000));
  guest_says(a_, kPvmIsn, upto(10000), 1000, 1000);
  client_hears_on(heard, 10000);
  EXPECT_EQ(heard, upto(10000));
  auto stats = a_.plane->stats();
  EXPECT_EQ(stats.xdp.count[TS_COUNT_TAP_MATCHED], 9U);
  EXPECT_EQ(stats.compare.bytes_matched, 10000U);
  EXPECT_EQ(stats.compare.frames_held, 0U);

  // The PVM is ahead now: user space holds its frames.
  guest_says(a_, kPvmIsn, upto(15000), 1000, 10000);
  EXPECT_FALSE(lab_->client_receive(kQuiet)) << "nothing may leave before the SVM has produced it";
  guest_says(b_, kSvmIsn, upto(15000), 700, 10000);
  client_hears_on(heard, 15000);

  // A checkpoint takes the connection from the programs, which let nothing out of the new epoch before the SVM spoke.
  ASSERT_NO_FATAL_FAILURE(svm_leads(upto(20000), 15000));
  guest_says(a_, kPvmIsn, upto(18000), 1000, 15000);
  client_hears_on(heard, 18000);
  checkpoint(2);
  guest_says(a_, kPvmIsn, upto(20000), 1000, 18000);
  EXPECT_FALSE(lab_->client_receive(kQuiet));
  guest_says(b_, kPvmIsn, upto(20000), 1000, 18000);  // its state is the PVM's now
  client_hears_on(heard, 20000);
  EXPECT_EQ(heard, upto(20000));
  EXPECT_FALSE(diverged_) << diverged_->detail;
  EXPECT_EQ(a_.plane->stats().record_frames_lost, 0U);
}

TEST_F(PlaneTest, AByteThatDiffersFromWhatTheSvmSaidStaysHere) {
  open_connection();
  const Bytes stream = pattern(6000);
  const Bytes first(stream.begin(), stream.begin() + 1000);
  guest_says(a_, kPvmIsn, first, 1000);
  guest_says(b_, kSvmIsn, first, 1000);
  Bytes heard = client_hears(1000);
  ASSERT_NO_FATAL_FAILURE(svm_leads(stream, 1000));
  Bytes flipped = stream;
  flipped[3500] ^= std::byte{1};
  guest_says(a_, kPvmIsn, flipped, 1000, 1000);
  const auto diverged = wait_diverged();
  ASSERT_TRUE(diverged);
  EXPECT_EQ(diverged->cause, Cause::content) << diverged->detail;
  client_hears_on(heard, stream.size(), kQuiet);
  EXPECT_EQ(heard, Bytes(stream.begin(), stream.begin() + 3000));
  EXPECT_EQ(a_.plane->stats().xdp.count[TS_COUNT_TAP_MATCHED], 2U);
}

TEST_F(PlaneTest, AFlippedByteDivergesAndNothingOfItLeavesBeforeTheCheckpoint) {
  open_connection();
  const Bytes stream = pattern(5000);
  Bytes flipped = stream;
  flipped[2500] ^= std::byte{1};
  guest_says(a_, kPvmIsn, stream, 1000);
  guest_says(b_, kSvmIsn, flipped, 1000);
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
  ASSERT_TRUE(b_.guest_receive());  // the SVM consumed it; its rollback undoes that
  ASSERT_TRUE(b_.plane->standby_stop(2));
  const auto flows = a_.plane->begin_epoch(2);  // the PVM has not
  lab_->client_send(request(2));
  EXPECT_FALSE(a_.guest_receive(kQuiet)) << "the gate is shut";
  EXPECT_FALSE(b_.guest_receive(milliseconds(0)));
  a_.plane->resume_input();
  a_.plane->commit(2);
  b_.plane->standby_begin(2, flows);
  lab_->client_send(request(3));
  for (const std::uint32_t seq : {1U, 2U, 3U}) {
    const auto at_a = a_.guest_receive();
    const auto at_b = b_.guest_receive();
    ASSERT_TRUE(at_a && at_b) << seq;
    EXPECT_EQ(*at_a, request(seq));
    EXPECT_EQ(*at_b, request(seq));
  }
}

TEST_F(PlaneTest, GroupFramesReachBothVms) {
  const Bytes asks = ethernet(kBroadcast, kClientMac, 0x0806, pattern(46));
  const Bytes tagged =
      ethernet(kBroadcast, kClientMac, 0x8100, concat({bytes_of({0x30, 0x05, 0x08, 0x06}), pattern(46)}));
  for (const Bytes& frame : {asks, tagged}) {
    lab_->client_send(frame);
    const auto at_a = a_.guest_receive();
    const auto at_b = b_.guest_receive();
    ASSERT_TRUE(at_a && at_b);
    EXPECT_EQ(*at_a, frame);
    EXPECT_EQ(*at_b, frame);
  }
  ASSERT_TRUE(b_.plane->standby_stop(2));
  const auto bases = a_.plane->begin_epoch(2);
  lab_->client_send(asks);
  EXPECT_FALSE(a_.guest_receive(kQuiet)) << "the gate is shut";
  a_.plane->resume_input();
  a_.plane->commit(2);
  b_.plane->standby_begin(2, bases);
  EXPECT_TRUE(a_.guest_receive());
  EXPECT_TRUE(b_.guest_receive());
}

TEST_F(PlaneTest, FramesOfAnOldEpochAreNothingToTheSvm) {
  ASSERT_TRUE(b_.plane->standby_stop(2));
  lab_->client_send(frame_of(Tcp{.from_vm = false}));
  EXPECT_TRUE(a_.guest_receive());
  EXPECT_FALSE(b_.guest_receive(kQuiet));
  EXPECT_GE(b_.plane->stats().xdp.count[TS_COUNT_LINK_STALE], 1U);
}

TEST_F(PlaneTest, AnSvmWhoseCheckpointFailedGoesOnInItsEpoch) {
  ASSERT_TRUE(b_.plane->standby_stop(2));
  const auto request = [](std::uint32_t seq) {
    return frame_of(Tcp{.from_vm = false, .seq = seq, .payload = pattern(10)});
  };
  lab_->client_send(request(1));
  EXPECT_TRUE(a_.guest_receive());
  b_.plane->standby_return();
  lab_->client_send(request(2));
  EXPECT_TRUE(a_.guest_receive());
  const auto at_b = b_.guest_receive();
  ASSERT_TRUE(at_b);
  EXPECT_EQ(*at_b, request(2));
}

TEST_F(PlaneTest, TakeOverSendsWhatTheClientLacksAndGoesOn) {
  open_connection();
  const Bytes stream = pattern(6000);
  const Bytes known(stream.begin(), stream.begin() + 2000);
  guest_says(a_, kPvmIsn, known, 1000);
  guest_says(b_, kSvmIsn, stream, 1000);
  EXPECT_EQ(client_hears(known.size()), known);
  client_says(kPvmIsn + 1 + 2000);
  a_.plane.reset();  // host a is gone, with everything that its process held

  const auto stats = b_.plane->take_over();
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
  const auto acknowledged = b_.guest_receive();
  ASSERT_TRUE(acknowledged);
  EXPECT_EQ(ack_of(*acknowledged), kSvmIsn + 1 + 6000);
  b_.guest_send(frame_of(Tcp{.seq = kSvmIsn + 6001, .ack = kClientIsn + 1, .payload = pattern(10)}));
  const auto goes_on = lab_->client_receive();
  ASSERT_TRUE(goes_on);
  EXPECT_EQ(seq_of(*goes_on), kPvmIsn + 6001);
  EXPECT_TRUE(checksums_right(*goes_on));
}

TEST_F(PlaneTest, AConnectionOutlivesFailoversWithProtectionBetween) {
  // Each round the survivor's VM is protected again: input is in its numbers on both hosts, output in the client's.
  const auto client_asks = [this](std::uint32_t ack, const Host& primary, const Host& secondary, std::uint32_t wanted) {
    lab_->client_send(
        frame_of(Tcp{.from_vm = false, .seq = kClientIsn + 1, .ack = ack, .options = timestamps(9, 900)}));
    for (const Host* host : {&primary, &secondary}) {
      const auto got = host->guest_receive();
      ASSERT_TRUE(got);
      EXPECT_EQ(ack_of(*got), wanted);
      EXPECT_TRUE(checksums_right(*got));
    }
  };
  const auto both_say = [this](std::uint32_t at, std::uint32_t wanted, const Host& primary, const Host& secondary) {
    const Tcp tcp{.seq = at, .ack = kClientIsn + 1, .options = timestamps(1000, 9), .payload = pattern(100)};
    primary.guest_send(frame_of(tcp));
    EXPECT_FALSE(lab_->client_receive(kQuiet));
    secondary.guest_send(frame_of(tcp));
    const auto heard = lab_->client_receive();
    ASSERT_TRUE(heard);
    EXPECT_EQ(seq_of(*heard), wanted);
    EXPECT_GE(get32(*heard, 58), 1000U);
    EXPECT_TRUE(checksums_right(*heard));
  };
  open_connection();
  guest_says(a_, kPvmIsn, pattern(500), 500);
  guest_says(b_, kSvmIsn, pattern(500), 500);
  EXPECT_EQ(client_hears(500).size(), 500U);
  Host* primary = &a_;
  Host* secondary = &b_;
  std::uint32_t said = 501;
  for (const char lost : {'a', 'b', 'a'}) {
    SCOPED_TRACE(lost);
    primary->plane.reset();
    secondary->plane->take_over();
    while (lab_->client_receive(kQuiet)) continue;  // announcements, and what the client may lack
    std::swap(primary, secondary);
    protect_again(*primary, lost, *secondary);
    ASSERT_FALSE(HasFatalFailure());
    client_asks(kPvmIsn + said, *primary, *secondary, kSvmIsn + said);
    both_say(kSvmIsn + said, kPvmIsn + said, *primary, *secondary);
    said += 100;
  }
  // The port is used again: the new connection is told as it is.
  const Tcp answer{.ack = kClientIsn + 9000, .flags = kSyn | kAck, .options = bytes_of({2, 4, 5, 0xb4})};
  primary->guest_send(with_seq(answer, 40000));
  secondary->guest_send(with_seq(answer, 40000));
  const auto opened = lab_->client_receive();
  ASSERT_TRUE(opened);
  EXPECT_EQ(seq_of(*opened), 40000U);
  client_asks(40001, *primary, *secondary, 40001);
}

TEST_F(PlaneTest, SoloReleasesWhatIsHeldAndPassesFramesBothWays) {
  open_connection();
  const Bytes stream = pattern(3000);
  guest_says(a_, kPvmIsn, stream, 1000);
  EXPECT_FALSE(lab_->client_receive(kQuiet));
  a_.plane->release_all_and_direct();
  EXPECT_EQ(client_hears(stream.size()), stream);
  lab_->client_send(frame_of(Tcp{.from_vm = false}));
  EXPECT_TRUE(a_.guest_receive());
  a_.guest_send(frame_of(Tcp{.seq = 42}));
  const auto direct = lab_->client_receive();
  ASSERT_TRUE(direct);
  EXPECT_EQ(seq_of(*direct), 42U);
}

TEST_F(PlaneTest, TheLoserOfTheVmSaysNothingMore) {
  open_connection();
  guest_says(a_, kPvmIsn, pattern(3000), 1000);
  EXPECT_FALSE(lab_->client_receive(kQuiet));
  const auto before = a_.plane->stats().umem_free;
  EXPECT_EQ(a_.plane->discard_and_close(), 3U);
  EXPECT_EQ(a_.plane->stats().umem_free, before + 3) << "dropped frames must give their memory back";
  a_.guest_send(frame_of(Tcp{.seq = 42}));
  EXPECT_FALSE(lab_->client_receive(kQuiet));
  lab_->client_send(frame_of(Tcp{.from_vm = false}));
  EXPECT_FALSE(a_.guest_receive(kQuiet));
}

}  // namespace
}  // namespace twinstep::test
