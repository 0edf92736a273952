// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

namespace twinstep::daemon {

/// What makes a segment of a connection that outlived a failover the client's (see ts_translation).
struct OutboundShift {
  std::uint32_t seq_delta = 0;
  std::uint32_t ts_offset = 0;
  bool changes() const { return (seq_delta | ts_offset) != 0; }
};

/// Changes fields of a TCP segment in an Ethernet frame, its checksum with them (RFC 1624). The frame must be of
/// TS_CLASS_TCP, as compare::parse found. The same rules as the XDP programs follow on frames that don't pass user
/// space.
class TcpEdit {
 public:
  /// frame: all of it, or its front with all headers; then frame_bytes is the size of the whole.
  TcpEdit(std::span<std::byte> frame, std::size_t frame_bytes);
  explicit TcpEdit(std::span<std::byte> frame) : TcpEdit(frame, frame.size()) {}

  void set_window(std::uint16_t window);
  /// Subtracts from the sequence number, adds to TSval if the segment carries timestamps (RFC 7323).
  void shift(const OutboundShift& shift);
  /// Sets TSval if the segment carries timestamps.
  void set_tsval(std::uint32_t tsval);

 private:
  std::uint32_t get32(std::size_t at) const;
  std::optional<std::size_t> find_tsval() const;
  void replace(std::size_t at, std::span<const std::byte> bytes);
  std::span<std::byte> tcp_;  // from the header on
};

}  // namespace twinstep::daemon
