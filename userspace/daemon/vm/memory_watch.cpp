// SPDX-License-Identifier: Apache-2.0
//
// What goes on beside a protected VM between two checkpoints: a look now and then at how much it has written, so that
// no epoch outgrows its bound, and pages that are sent ahead.
#include <spdlog/spdlog.h>

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <optional>
#include <utility>

#include "daemon/vm/vm.hpp"

namespace twinstep::daemon {

std::uint64_t Vm::epoch_bytes_max() const {
  const std::uint64_t limit = host_.config.memory.epoch_bytes_max;
  // All of it, and beside it what was sent ahead: a checkpoint can't be larger.
  const std::uint64_t largest = config_.memory_bytes + config_.memory_bytes / 4;
  return limit == 0 ? largest : std::min(limit, largest);
}

// On the page stream's worker, until `stopped` is asked for. ahead_ns: how often pages are sent ahead; nothing: never.
void Vm::watch_memory(const std::stop_token& stopped, std::uint32_t epoch, std::uint64_t generation,
                      std::optional<Nanos> ahead_ns) {
  std::mutex mutex;
  std::condition_variable_any wake;
  std::unique_lock lock(mutex);
  Nanos looked_at = io::monotonic_ns();
  Nanos sent_at = looked_at;
  for (;;) {
    const Nanos period_ns = std::min(pairing_.look_pace.period_ns(), ahead_ns.value_or(memory::LookPace::kPeriodMax));
    wake.wait_for(lock, stopped, std::chrono::nanoseconds(period_ns), [] { return false; });
    if (stopped.stop_requested()) return;
    const auto fullness = guest_->primary().look();
    if (!fullness) return spdlog::warn("{}: can't tell what it writes: {}", config_.name, fullness.error().message);
    const Nanos now = io::monotonic_ns();
    pairing_.look_pace.after_look(*fullness, now - std::exchange(looked_at, now));
    if (fullness->full) return post(session::Diverged{epoch, compare::Cause::pressure});
    if (!ahead_ns || now - sent_at < *ahead_ns) continue;
    sent_at = now;
    const auto sent =
        guest_->primary().send_ahead(*pairing_.sender, generation, [&stopped] { return stopped.stop_requested(); });
    if (!sent) return spdlog::warn("{}: sends nothing ahead of a checkpoint: {}", config_.name, sent.error().message);
  }
}

}  // namespace twinstep::daemon
