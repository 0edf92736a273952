// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <thread>

#include "core/result.hpp"
#include "core/time.hpp"
#include "io/unique_fd.hpp"
#include "wire/heartbeat.hpp"

namespace twinstep::io {

struct HeartbeatConfig {
  std::string self;          ///< this host's name
  std::string peer;          ///< the other's; heartbeats of anyone else are ignored
  std::string address;       ///< this host's numeric address on the link
  std::string peer_address;  ///< the other's
  std::uint16_t port = 0;    ///< UDP, the same on both hosts
  Nanos interval_ns = 25 * kMillisecond;
};

/// Tells the peer that this daemon lives, at a fixed interval over UDP, and hears the peer's. Runs in a thread of its
/// own with real-time priority where that is permitted, so that a busy host isn't taken for a dead one.
class Heartbeat {
 public:
  /// on_heard: called in the heartbeat's thread for each of the peer's datagrams; must not block.
  /// Errors: an address that isn't this host's or isn't numeric, a port that is taken.
  static Result<std::unique_ptr<Heartbeat>> create(HeartbeatConfig config,
                                                   std::function<void(const wire::Heartbeat&)> on_heard);
  /// Joins the thread; on_heard isn't called afterwards.
  ~Heartbeat();
  Heartbeat(const Heartbeat&) = delete;
  Heartbeat& operator=(const Heartbeat&) = delete;

  /// Whether the thread has real-time priority.
  bool real_time() const { return real_time_; }

 private:
  Heartbeat(HeartbeatConfig config, std::function<void(const wire::Heartbeat&)> on_heard, UniqueFd socket,
            UniqueFd wake);
  void run();
  void beat();
  void hear();

  const HeartbeatConfig config_;
  const std::function<void(const wire::Heartbeat&)> on_heard_;
  const UniqueFd socket_;
  const UniqueFd wake_;
  std::uint64_t sequence_ = 0;
  bool real_time_ = false;
  std::atomic<bool> stop_ = false;
  std::thread thread_;
};

}  // namespace twinstep::io
