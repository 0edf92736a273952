// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace twinstep::test {

using Bytes = std::vector<std::byte>;
using Mac = std::array<std::uint8_t, 6>;

inline constexpr Mac kVmMac{0x52, 0x54, 0, 0, 0, 1};
inline constexpr Mac kClientMac{0x52, 0x54, 0, 0, 0, 2};
inline constexpr Mac kBroadcast{0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
inline constexpr std::uint32_t kVmAddr = 0x0a010001;      ///< 10.1.0.1
inline constexpr std::uint32_t kClientAddr = 0x0a010002;  ///< 10.1.0.2
inline constexpr std::uint16_t kVmPort = 80;
inline constexpr std::uint16_t kClientPort = 40000;

Bytes bytes_of(std::initializer_list<int> values);
Bytes concat(std::initializer_list<std::span<const std::byte>> parts);
/// Bytes that differ from place to place and from seed to seed.
Bytes pattern(std::size_t size, unsigned seed = 1);
Bytes ethernet(const Mac& destination, const Mac& source, std::uint16_t ether_type, std::span<const std::byte> body);

/// A TCP segment of the connection between the VM and the client, with right checksums.
struct Tcp {
  bool from_vm = true;
  std::uint32_t seq = 1000;
  std::uint32_t ack = 2000;
  std::uint8_t flags = 0x10;
  std::uint16_t window = 500;
  std::uint16_t client_port = kClientPort;
  Bytes options{};     ///< a multiple of 4 bytes
  Bytes ip_options{};  ///< likewise
  Bytes payload{};
};
Bytes frame_of(const Tcp& tcp);

/// An IPv4 packet of another protocol. fragment: the raw field of flags and offset.
struct Ip {
  std::uint8_t protocol = 17;
  std::uint32_t destination = kClientAddr;
  std::uint16_t fragment = 0;
  Bytes payload{};
};
Bytes frame_of(const Ip& ip);

/// NOP, NOP, timestamps.
Bytes timestamps(std::uint32_t tsval, std::uint32_t tsecr);

std::uint16_t get16(std::span<const std::byte> bytes, std::size_t at);
std::uint32_t get32(std::span<const std::byte> bytes, std::size_t at);
void put16(std::span<std::byte> bytes, std::size_t at, std::uint16_t value);
void put32(std::span<std::byte> bytes, std::size_t at, std::uint32_t value);

bool comes_from(std::span<const std::byte> frame, const Mac& source);
/// Whether IPv4 header and TCP checksum are right, computed from scratch (RFC 1071).
bool checksums_right(std::span<const std::byte> frame);

}  // namespace twinstep::test
