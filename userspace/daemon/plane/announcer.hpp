// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <optional>

#include "core/time.hpp"
#include "daemon/plane/port.hpp"

namespace twinstep::daemon {

/// Tells the switches which port the VM's address is behind now: three RARP broadcasts from it (RFC 903), as
/// hypervisors do after a migration. Spaced, because a switch that is just learning of the fault may lose the first.
class Announcer {
 public:
  explicit Announcer(Port& port) : port_(port) {}

  /// Sends the first and plans the others.
  void start(Nanos now);
  void stop() { left_ = 0; }
  std::optional<Nanos> next() const { return left_ > 0 ? std::optional(next_) : std::nullopt; }
  /// Sends what is due.
  void on_tick(Nanos now);

 private:
  static constexpr int kTimes = 3;
  static constexpr Nanos kInterval = 50 * kMillisecond;
  void send();

  Port& port_;
  int left_ = 0;
  Nanos next_ = 0;
};

}  // namespace twinstep::daemon
