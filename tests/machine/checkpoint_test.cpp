// SPDX-License-Identifier: Apache-2.0
// Checkpoints of a real guest, judged by content: afterwards the SVM's RAM is the PVM's stopped RAM, byte for byte.
#include <gtest/gtest.h>

#include <algorithm>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <future>
#include <thread>
#include <vector>

#include "core/time.hpp"
#include "memory/primary_memory.hpp"
#include "memory/secondary_memory.hpp"
#include "qemu-glue/state/device_state.hpp"
#include "qemu-glue/state/run_state.hpp"
#include "vm_fixture.hpp"

namespace twinstep::machine_test {
namespace {

using memory::PrimaryMemory;
using memory::SecondaryMemory;
using std::chrono::milliseconds;

constexpr std::size_t kEpochBytesMax = 128U << 20;
constexpr int kCheckpoints = 60;
constexpr std::uint64_t kGeneration = 7;
constexpr memory::PageHashKey kKey = 0x5eed;

Nanos now() {
  return std::chrono::steady_clock::now().time_since_epoch().count();
}

template <typename T>
T value(Result<T> result) {
  if (!result) throw std::runtime_error(result.error().message);
  if constexpr (!std::is_void_v<T>) return std::move(*result);
}

// First page in which the two differ; nothing: they are equal.
std::optional<std::size_t> first_difference(std::span<const std::byte> a, std::span<const std::byte> b) {
  for (std::size_t offset = 0; offset < a.size(); offset += memory::kPageBytes) {
    if (std::memcmp(a.data() + offset, b.data() + offset, memory::kPageBytes) != 0) return offset / memory::kPageBytes;
  }
  return std::nullopt;
}

/// How the pauses were spent, one value per checkpoint.
struct Steps {
  std::vector<Nanos> stop, save, scan, copy, cont;
};

void report(const char* name, std::vector<Nanos> values) {
  std::sort(values.begin(), values.end());
  const auto text = std::to_string(values[values.size() / 2] / 1000) + " / " + std::to_string(values.back() / 1000);
  ::testing::Test::RecordProperty(name, text);
  std::printf("%s us, median / max: %s\n", name, text.c_str());
}

/// A PVM, an SVM, and what protects the one by the other, as the two daemons do it.
class Pair {
 public:
  Pair()
      : pvm_(value(start_side(guest_spec(pvm_dir_.path(), pvm_tap_, false)))),
        svm_(value(start_side(guest_spec(svm_dir_.path(), svm_tap_, true)))),
        primary_(value(PrimaryMemory::create(pvm_.ram.bytes(), *pvm_.dirty, kEpochBytesMax, kKey))),
        secondary_(value(SecondaryMemory::create(
            svm_.ram.bytes(), *svm_.dirty, [this] { return svm_.ram.present(); }, kEpochBytesMax, kKey))),
        saver_(value(qemu::StateSaver::create(pvm_.process.qmp(), kTimeout))),
        loader_(value(qemu::StateLoader::create(svm_.process.qmp(), pvm_.features.machine_type, kTimeout))),
        stream_(tcp_pair()),
        sender_(value(memory::ImageSender::create(stream_.first.get(), kTimeout))),
        pvm_copy_(kGuestBytes) {}

  Side& pvm() { return pvm_; }
  Side& svm() { return svm_; }
  const Steps& steps() const { return steps_; }

  void live_sync() {
    value(primary_.start());
    primary_.set_present(value(pvm_.ram.present()));
    value(secondary_.start());
    for (int round = 0; round < 3; ++round) {
      auto received = receive();
      const auto sent = value(primary_.live_round(sender_, kGeneration));
      EXPECT_EQ(value(received.get()).pages, sent.pages_sent);
      EXPECT_TRUE(round > 0 || sent.pages_sent == primary_.pages());
    }
  }

  /// One checkpoint in the design's order. The PVM's RAM is kept aside for compare(), outside the measured steps.
  void checkpoint(std::uint32_t epoch, const std::string& meta) {
    value(qemu::stop(svm_.process.qmp(), kTimeout));
    const auto svm = value(secondary_.scan_dirty());
    value(primary_.prestage(svm));
    const Nanos start = now();
    value(qemu::stop(pvm_.process.qmp(), kTimeout));
    const Nanos stopped = now();
    const auto state = value(saver_.save(pvm_.process.qmp(), kTimeout));
    const Nanos saved = now();
    const auto staged = value(primary_.stage(svm));
    std::memcpy(pvm_copy_.data(), pvm_.ram.bytes().data(), pvm_copy_.size());
    const Nanos cont_start = now();
    value(qemu::cont(pvm_.process.qmp(), kTimeout));
    note(stopped - start, saved - stopped, staged, now() - cont_start);
    pages_secondary_ += svm.dirty.count();

    auto received = receive();
    const auto sent =
        value(primary_.send_staged(sender_, kGeneration, epoch, svm, {std::as_bytes(std::span(meta)), state, {}}));
    const auto image = value(received.get());
    EXPECT_EQ(image.epoch, epoch);
    EXPECT_EQ(image.pages, sent.pages);
    EXPECT_LE(sent.pages, staged.pages_dirty);
    EXPECT_EQ(std::memcmp(secondary_.image().meta().data(), meta.data(), meta.size()), 0);
    value(secondary_.apply());
    EXPECT_EQ(first_difference(svm_.ram.bytes(), pvm_copy_), std::nullopt) << "before the load, epoch " << epoch;
    value(loader_.load(svm_.process.qmp(), secondary_.image().device_state(), kTimeout));
    value(secondary_.finish());
    EXPECT_EQ(first_difference(svm_.ram.bytes(), pvm_copy_), std::nullopt) << "after the load, epoch " << epoch;
    value(qemu::cont(svm_.process.qmp(), kTimeout));
  }

  std::uint64_t pages_secondary() const { return pages_secondary_; }

 private:
  std::future<Result<memory::Received>> receive() {
    return std::async(std::launch::async,
                      [this] { return secondary_.receive(stream_.second.get(), kTimeout, kTimeout); });
  }

  void note(Nanos stop, Nanos save, const memory::StageInfo& staged, Nanos cont) {
    steps_.stop.push_back(stop);
    steps_.save.push_back(save);
    steps_.scan.push_back(staged.scan_ns);
    steps_.copy.push_back(staged.copy_ns);
    steps_.cont.push_back(cont);
  }

  TempDir pvm_dir_;
  TempDir svm_dir_;
  io::UniqueFd pvm_tap_ = make_isolated_tap();
  io::UniqueFd svm_tap_ = make_isolated_tap();
  Side pvm_;
  Side svm_;
  PrimaryMemory primary_;
  SecondaryMemory secondary_;
  qemu::StateSaver saver_;
  qemu::StateLoader loader_;
  std::pair<io::UniqueFd, io::UniqueFd> stream_;
  memory::ImageSender sender_;
  std::vector<std::byte> pvm_copy_;
  Steps steps_;
  std::uint64_t pages_secondary_ = 0;
};

TEST(Checkpoints, SvmRamEqualsPvmRamAndOutlivesIt) {
  if (const auto missing = missing_for_guest()) GTEST_SKIP() << *missing;
  Pair pair;
  ASSERT_TRUE(wait_tick(pair.pvm().run_dir, 1, std::chrono::seconds(60))) << "the guest did not boot";
  pair.live_sync();
  for (std::uint32_t epoch = 1; epoch <= kCheckpoints && !HasFailure(); ++epoch) {
    pair.checkpoint(epoch, "meta of epoch " + std::to_string(epoch));
    std::this_thread::sleep_for(milliseconds(100));
  }
  ASSERT_FALSE(HasFailure());
  EXPECT_GT(pair.pages_secondary(), std::uint64_t{kCheckpoints})
      << "the SVM must have run and written, or nothing was tested";
  report("pause_stop", pair.steps().stop);
  report("pause_save", pair.steps().save);
  report("pause_scan", pair.steps().scan);
  report("pause_copy", pair.steps().copy);
  report("pause_cont", pair.steps().cont);

  ASSERT_EQ(::kill(pair.pvm().process.pid(), SIGKILL), 0);
  const auto tick = last_tick(pair.svm().run_dir).value_or(0);
  EXPECT_GT(tick, 0U);
  EXPECT_TRUE(wait_tick(pair.svm().run_dir, tick + 3, std::chrono::seconds(20)))
      << "the SVM stands still at tick " << tick;
  EXPECT_TRUE(pair.pvm().process.kill(kTimeout));
  EXPECT_NE(pair.pvm().process.exit_reason().find("killed by signal 9"), std::string::npos);
}

}  // namespace
}  // namespace twinstep::machine_test
