// SPDX-License-Identifier: Apache-2.0
#include "pair.hpp"

#include <array>
#include <chrono>
#include <mutex>

#include "memory/page_checksums.hpp"
#include "qemu-glue/state/run_state.hpp"

namespace twinstep::machine_test {
namespace {

constexpr memory::PageHashKey kKey = 0x5eed;
constexpr std::uint64_t kPagesLeftMax = 2048;
constexpr int kRoundsMax = 10;

/// Pages of a stopped VM, from where they lie.
class InPlaceFeed final : public memory::PageFeed {
 public:
  InPlaceFeed(std::span<const std::byte> ram, const memory::PageBitmap& pages) : ram_(ram), pages_(&pages) {}
  std::size_t pages_max() const override { return pages_->count(); }
  void fill(memory::Chunk& chunk) override {
    const std::lock_guard lock(mutex_);
    while (chunk.has_room_for(1)) {
      const auto page = pages_->next(next_);
      if (!page) return;
      chunk.add(*page, ram_.subspan(std::size_t{*page} * memory::kPageBytes, memory::kPageBytes));
      next_ = std::size_t{*page} + 1;
    }
  }

 private:
  std::span<const std::byte> ram_;
  const memory::PageBitmap* pages_;
  std::mutex mutex_;
  std::size_t next_ = 0;
};

Nanos now() {
  return std::chrono::steady_clock::now().time_since_epoch().count();
}

}  // namespace

Pair::Pair(const MakeSpec& make_spec, std::size_t epoch_bytes_max, const checkpoint::PackRule& rule)
    : pvm_(value(start_side(make_spec(pvm_dir_.path(), pvm_tap_, false)))),
      svm_(value(start_side(make_spec(svm_dir_.path(), svm_tap_, true)))),
      primary_(value(memory::PrimaryMemory::create(pvm_.ram.bytes(), *pvm_.dirty, epoch_bytes_max, kKey))),
      secondary_(value(memory::SecondaryMemory::create(
          svm_.ram.bytes(), *svm_.dirty, [this] { return svm_.ram.present(); }, epoch_bytes_max, kKey))),
      saver_(value(qemu::StateSaver::create(pvm_.process.qmp(), kTimeout))),
      loader_(value(qemu::StateLoader::create(svm_.process.qmp(), pvm_.features.machine_type, kTimeout))),
      stream_(tcp_pair()),
      sender_(value(memory::ImageSender::create(std::array{stream_.first.get()}, kTimeout, rule))) {
  value(secondary_.receive_from(std::array{stream_.second.get()}));
}

std::future<Result<memory::Received>> Pair::receive() {
  return std::async(std::launch::async, [this] { return secondary_.receive(kTimeout, kTimeout); });
}

std::vector<memory::LiveRound> Pair::live_sync() {
  value(primary_.start());
  primary_.set_present(value(pvm_.ram.present()));
  value(secondary_.start());
  std::vector<memory::LiveRound> rounds;
  do {
    auto received = receive();
    rounds.push_back(value(primary_.live_round(sender_, kGeneration)));
    if (value(received.get()).pages != rounds.back().pages_sent) throw std::runtime_error("pages were lost");
  } while (rounds.back().pages_left > kPagesLeftMax && rounds.back().repeatable && rounds.size() < kRoundsMax);
  return rounds;
}

Measured Pair::checkpoint(const std::string& meta, const OnPaused& on_paused, const OnSvm& on_svm, bool verify) {
  Measured measured;
  const Nanos svm_stop = now();
  value(qemu::stop(svm_.process.qmp(), kTimeout));
  const auto svm = value(secondary_.scan_dirty());
  measured.pages_svm = svm.dirty.count();
  const Nanos prestage = now();
  value(primary_.prestage(svm));

  const Nanos start = now();
  measured.prestage_ns = start - prestage;
  value(qemu::stop(pvm_.process.qmp(), kTimeout));
  const Nanos stopped = now();
  const auto state = value(saver_.save(pvm_.process.qmp(), kTimeout));
  const Nanos saved = now();
  const auto staged = value(primary_.stage(svm));
  const Nanos copied = now();
  std::vector<std::uint64_t> checksums;
  if (verify) checksums = memory::page_checksums(pvm_.ram.bytes(), value(pvm_.ram.present()));
  if (on_paused) on_paused();
  const Nanos cont = now();
  value(qemu::cont(pvm_.process.qmp(), kTimeout));
  const Nanos end = now();
  measured.stop_ns = stopped - start;
  measured.save_ns = saved - stopped;
  measured.scan_ns = staged.scan_ns;
  measured.copy_ns = staged.copy_ns;
  measured.cont_ns = end - cont;
  measured.pause_ns = (copied - start) + (end - cont);
  measured.pages_dirty = staged.pages_dirty;
  measured.pages_copied = staged.pages_copied;

  auto received = receive();
  measured.sent = value(
      primary_.send_staged(sender_, kGeneration, ++epoch_, svm, {std::as_bytes(std::span(meta)), state, checksums}));
  const auto image = value(received.get());
  const Nanos committed = now();
  if (image.epoch != epoch_ || image.pages != measured.sent.pages) throw std::runtime_error("another image arrived");
  measured.commit_ns = committed - end;
  apply_and_continue(on_svm, measured, committed, svm_stop);
  return measured;
}

void Pair::apply_and_continue(const OnSvm& on_svm, Measured& measured, Nanos committed, Nanos svm_stop) {
  value(secondary_.apply());
  if (on_svm) on_svm("apply");
  value(loader_.load(svm_.process.qmp(), secondary_.image().device_state(), kTimeout));
  value(secondary_.finish());
  if (on_svm) on_svm("load");
  value(qemu::cont(svm_.process.qmp(), kTimeout));
  const Nanos running = now();
  measured.apply_ns = running - committed;
  measured.svm_stopped_ns = running - svm_stop;
}

Measured Pair::peer_checkpoint() {
  Measured measured;
  const Nanos svm_stop = now();
  value(qemu::stop(svm_.process.qmp(), kTimeout));
  auto dirty = value(secondary_.scan_dirty()).dirty;

  const Nanos start = now();
  value(qemu::stop(pvm_.process.qmp(), kTimeout));
  const auto state = value(saver_.save(pvm_.process.qmp(), kTimeout));
  value(pvm_.dirty->scan(dirty));
  memory::ImageHeader header;
  header.kind = memory::ImageKind::checkpoint;
  header.generation = kGeneration;
  header.epoch = ++epoch_;
  header.ram_bytes = pvm_.ram.bytes().size();
  auto received = receive();
  InPlaceFeed feed(pvm_.ram.bytes(), dirty);
  measured.sent = value(sender_.send(header, feed, {{}, state, {}}));
  value(received.get());
  value(secondary_.apply());
  value(loader_.load(svm_.process.qmp(), secondary_.image().device_state(), kTimeout));
  value(qemu::cont(pvm_.process.qmp(), kTimeout));
  const Nanos end = now();
  value(secondary_.finish());
  value(qemu::cont(svm_.process.qmp(), kTimeout));
  measured.pause_ns = end - start;
  measured.pages_dirty = dirty.count();
  measured.svm_stopped_ns = now() - svm_stop;
  return measured;
}

}  // namespace twinstep::machine_test
