// SPDX-License-Identifier: Apache-2.0
#include "core/checkpoint/mode.hpp"

#include <algorithm>
#include <array>

namespace twinstep::checkpoint {
namespace {

constexpr std::array kModes = {Mode::colo, Mode::periodic, Mode::automatic};

std::string seconds(Nanos duration_ns) {
  return std::to_string(duration_ns / kSecond) + " s";
}

}  // namespace

const char* to_string(Mode mode) {
  switch (mode) {
    case Mode::colo:
      return "colo";
    case Mode::periodic:
      return "periodic";
    case Mode::automatic:
      return "auto";
  }
  return "unknown";
}

std::optional<Mode> mode_of(std::string_view word) {
  const auto* found = std::find_if(kModes.begin(), kModes.end(), [&](Mode mode) { return word == to_string(mode); });
  return found == kModes.end() ? std::nullopt : std::optional(*found);
}

void ModeChooser::set(Mode mode) {
  mode_ = mode;
  short_epochs_ = 0;
  probing_ = false;
  probe_at_.reset();
  probe_after_ns_ = limits_.probe_min_ns;
  reason_ = mode == Mode::automatic ? "the guests agree so far" : "the mode was set";
}

void ModeChooser::on_compared_epoch(bool disagreed, Nanos useful_ns, Nanos now) {
  if (mode_ != Mode::automatic) return;
  if (useful_ns >= limits_.good_epoch_ns && probing_) {
    probing_ = false;
    probe_after_ns_ = limits_.probe_min_ns;
    reason_ = "the guests agree again";
  }
  if (!disagreed || useful_ns >= limits_.short_epoch_ns) {
    short_epochs_ = 0;
    return;
  }
  if (++short_epochs_ >= limits_.short_epochs_max || probing_) give_up(now);
}

void ModeChooser::give_up(Nanos now) {
  if (probing_) probe_after_ns_ = std::min(2 * probe_after_ns_, limits_.probe_max_ns);
  reason_ = probing_ ? "the guests still don't agree"
                     : std::to_string(short_epochs_) + " epochs in a row disagreed within " +
                           std::to_string(limits_.short_epoch_ns / kMillisecond) + " ms";
  reason_ += "; comparing is tried again in " + seconds(probe_after_ns_);
  probe_at_ = now + probe_after_ns_;
  probing_ = true;
  short_epochs_ = 0;
}

bool ModeChooser::compares(Nanos now) const {
  if (mode_ == Mode::automatic) return !probe_at_ || now >= *probe_at_;
  return mode_ == Mode::colo;
}

std::optional<Nanos> ModeChooser::next_change(Nanos now) const {
  if (mode_ != Mode::automatic || !probe_at_ || now >= *probe_at_) return std::nullopt;
  return probe_at_;
}

}  // namespace twinstep::checkpoint
