// SPDX-License-Identifier: Apache-2.0
#include "context.hpp"

#include <array>
#include <cstdio>
#include <utility>

namespace twinstep::sim {

checkpoint::Mode draw_mode(Random& random) {
  constexpr std::array kModes = {checkpoint::Mode::colo, checkpoint::Mode::periodic, checkpoint::Mode::automatic};
  return kModes[random.below(kModes.size())];
}

Profile draw_profile(Random& random) {
  Profile profile;
  const auto rough = [&](double probability, double worst) {
    return random.chance(probability) ? worst * static_cast<double>(random.below(101)) / 100 : 0;
  };
  profile.uplink_loss = rough(0.5, 0.03);
  profile.uplink_duplicate = rough(0.5, 0.03);
  profile.link_loss = rough(0.4, 0.02);
  profile.clock_reply = rough(0.7, 0.2);
  profile.arbiter_loss = rough(0.4, 0.5);
  profile.uplink_delay_max = random.between(kMillisecond / 5, 3 * kMillisecond);
  profile.link_delay_max = random.between(kMillisecond / 10, 4 * kMillisecond);
  profile.work_delay_max = random.between(kMillisecond / 10, 3 * kMillisecond);
  profile.mode = draw_mode(random);
  return profile;
}

void Context::violate(std::string_view invariant, std::string text) {
  if (violation_) return;
  trace("world", "VIOLATION " + std::string(invariant) + ": " + text);
  violation_ = Violation{std::string(invariant), std::move(text), now()};
}

void Context::trace(std::string_view who, std::string_view text) {
  for (const char c : text) fingerprint_ = mix(fingerprint_ ^ static_cast<std::uint8_t>(c));
  fingerprint_ = mix(fingerprint_ ^ static_cast<std::uint64_t>(now()));
  if (trace_) print(who, text);
}

void Context::print(std::string_view who, std::string_view text) const {
  std::printf("%10.3f ms %-7.*s %.*s\n", static_cast<double>(now() - kSecond) / 1e6, static_cast<int>(who.size()),
              who.data(), static_cast<int>(text.size()), text.data());
}

}  // namespace twinstep::sim
