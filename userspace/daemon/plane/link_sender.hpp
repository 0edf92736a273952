// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "core/compare/comparer.hpp"
#include "daemon/plane/port.hpp"

namespace twinstep::daemon {

/// Makes the raw frames between the hosts (bpf/abi/twinstep_abi.h) and queues them on the link.
class LinkSender {
 public:
  explicit LinkSender(Port& port) : port_(port) {}

  /// Collects a record; a full frame of them goes out by itself, the rest at flush().
  void record(const ts_record& record, std::uint32_t epoch);
  /// A client's frame for the SVM.
  void mirror(std::span<const std::byte> frame, std::uint32_t epoch);
  /// On the wire when it returns.
  void delta(const compare::SetDelta& delta, std::uint32_t epoch);
  /// The same, of what the other host's start-up proof asks for.
  void answer(std::span<const std::byte> probe, std::uint32_t epoch);
  /// A frame as the other host would send it; valid until the next call of anything here.
  std::span<const std::byte> mirrored(std::span<const std::byte> frame);
  /// Everything collected is on the wire when it returns.
  void flush();

  std::uint64_t records_sent() const { return records_sent_; }

 private:
  void send(ts_link_type type, std::uint32_t epoch, std::uint16_t count, std::span<const std::byte> body);
  void wrap(ts_link_type type, std::uint32_t epoch, std::uint16_t count, std::span<const std::byte> body);
  void send_records();

  Port& port_;
  std::vector<ts_record> records_;
  std::uint32_t records_epoch_ = 0;
  std::array<std::uint32_t, TS_LINK_TYPES> sequences_{};  // by type
  std::uint64_t records_sent_ = 0;
  std::vector<std::byte> frame_;  // kept for its memory
};

}  // namespace twinstep::daemon
