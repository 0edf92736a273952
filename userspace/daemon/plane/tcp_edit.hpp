// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

namespace twinstep::daemon {

/// Changes fields of a TCP segment in an Ethernet frame, its checksum with them (RFC 1624). The frame must be of
/// TS_CLASS_TCP, as compare::parse found. The same rules as the XDP programs follow on frames that don't pass user
/// space.
class TcpEdit {
 public:
  explicit TcpEdit(std::span<std::byte> frame);

  void set_window(std::uint16_t window);
  std::uint32_t seq() const;
  void set_seq(std::uint32_t seq);
  /// Sets TSval if the segment carries timestamps (RFC 7323).
  void set_tsval(std::uint32_t tsval);

 private:
  std::optional<std::size_t> find_tsval() const;
  void replace(std::size_t at, std::span<const std::byte> bytes);
  std::span<std::byte> tcp_;  // from the header on
};

}  // namespace twinstep::daemon
