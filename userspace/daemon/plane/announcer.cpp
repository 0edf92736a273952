// SPDX-License-Identifier: Apache-2.0
#include "daemon/plane/announcer.hpp"

#include <algorithm>
#include <span>

namespace twinstep::daemon {
namespace {

constexpr std::size_t kFrameBytesMin = 60;  // of Ethernet, without the checksum
constexpr std::size_t kSenderAt = 6;
constexpr std::size_t kArpSenderAt = 22;
constexpr std::size_t kArpTargetAt = 32;

/// To all, EtherType RARP; Ethernet, IPv4, 6 and 4 address bytes, operation "request reverse".
constexpr std::array<std::uint8_t, 22> kHeader{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0,    0, 0, 0, 0,
                                               0,    0x80, 0x35, 0,    1,    0x08, 0x00, 6, 4, 0, 3};

}  // namespace

void Announcer::start(Nanos now) {
  left_ = kTimes;
  next_ = now;
  on_tick(now);
}

void Announcer::on_tick(Nanos now) {
  if (left_ == 0 || now < next_) return;
  send();
  --left_;
  next_ = now + kInterval;
}

void Announcer::send() {
  std::array<std::uint8_t, kFrameBytesMin> frame{};
  std::ranges::copy(kHeader, frame.begin());
  for (const std::size_t at : {kSenderAt, kArpSenderAt, kArpTargetAt})
    std::ranges::copy(port_.slot().vm_mac, frame.begin() + static_cast<std::ptrdiff_t>(at));
  port_.emit_copy(std::as_bytes(std::span(frame)));
  port_.uplink().flush();
}

}  // namespace twinstep::daemon
