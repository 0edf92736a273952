// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <netinet/in.h>

#include <cstdint>
#include <string>

#include "io/unique_fd.hpp"
#include "measure.hpp"
#include "system.hpp"

namespace twinstep::lab {

/// How a fetch ended. Anything but kNone is a failure that the client's user would have seen.
enum class Failure : std::uint8_t {
  kNone,
  kRefused,      // the connection could not be opened
  kReset,        // an open connection was reset, also one whose whole body had come
  kTimeout,      // nothing happened for kFetchTimeoutNs
  kClosedEarly,  // the server closed before the whole body had come
  kBadHead,      // not the answer that was asked for
  kWrongBytes,   // the body differs from the content expected
  kInterrupted,  // this program was told to stop
};

const char* to_string(Failure failure);

constexpr std::uint64_t kFetchTimeoutNs = 30 * kNsPerSecond;

/// One GET on one new connection, driven without blocking; each byte of the body is checked against guest/content.h.
class Fetch {
 public:
  struct Request {
    sockaddr_in address;
    std::string path;  // without the seed
    std::uint64_t seed;
    std::uint64_t bytes;  // the body's size
  };

  /// Starts connecting. `arrivals`, when given, is told of each piece of the body, and must outlive the fetch.
  Fetch(Request request, std::uint64_t now_ns, GapMeter* arrivals = nullptr);

  int fd() const { return socket_.get(); }
  short poll_events() const;
  bool done() const { return phase_ == Phase::kDone; }

  /// Does what can be done now; call it when the descriptor is ready, and often enough for the timeout.
  void advance(std::uint64_t now_ns, bool ready);
  void interrupt(std::uint64_t now_ns);

  Failure failure() const { return failure_; }
  std::uint64_t bytes() const { return bytes_; }
  std::uint64_t bytes_wrong() const { return bytes_wrong_; }
  std::uint64_t start_ns() const { return start_ns_; }
  /// When the last byte of the body came, or the failure.
  std::uint64_t end_ns() const { return end_ns_; }

 private:
  enum class Phase : std::uint8_t { kConnecting, kHead, kBody, kClosing, kDone };

  void finish_connect(std::uint64_t now_ns);
  void send_request(std::uint64_t now_ns);
  void receive(std::uint64_t now_ns);
  void take_head(const unsigned char* data, std::size_t bytes, std::uint64_t now_ns);
  void take_body(const unsigned char* data, std::size_t bytes, std::uint64_t now_ns);
  void take_end(std::uint64_t now_ns);
  bool head_is_right(const std::string& head) const;
  void end(Failure failure, std::uint64_t now_ns);

  Request request_;
  GapMeter* arrivals_;
  io::UniqueFd socket_;
  Phase phase_ = Phase::kConnecting;
  Failure failure_ = Failure::kNone;
  std::string head_;
  std::uint64_t bytes_ = 0;
  std::uint64_t bytes_wrong_ = 0;
  std::uint64_t start_ns_;
  std::uint64_t progress_ns_;
  std::uint64_t end_ns_ = 0;
};

}  // namespace twinstep::lab
