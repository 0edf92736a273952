// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "bpf/abi/twinstep_abi.h"
#include "core/result.hpp"

namespace twinstep::wire {

/// "TSWC" as it lies on the wire.
inline constexpr std::uint32_t kMagic = 0x43575354;
/// Bumped with every incompatible change of the header, of a body or of the heartbeat. Magic and version keep their
/// place in all versions, so that daemons of different versions can tell each other so.
inline constexpr std::uint16_t kWireVersion = 2;
inline constexpr std::size_t kHeaderBytes = 64;
inline constexpr std::size_t kTextBytesMax = 1024;
inline constexpr std::size_t kBodyBytesMax = std::size_t{64} << 20;

/// Kind of a frame: a greeting, or one of session::MessageType's numbers.
inline constexpr std::uint16_t kTypeHello = 0;

/// What precedes everything on the control connection. On the wire: little-endian, in this order, kHeaderBytes in all:
///
///   offset  bytes  field
///        0      4  magic
///        4      2  wire_version
///        6      2  abi_version
///        8      8  header_checksum  XXH3-64 of the header with this field zero
///       16      8  body_checksum    XXH3-64 of text and body
///       24      8  generation
///       32      4  pairing
///       36      4  epoch
///       40      4  body_bytes
///       44      2  text_bytes
///       46      2  type
///       48      2  vm_id
///       50     14  zero
struct Header {
  std::uint16_t wire_version = kWireVersion;
  std::uint16_t abi_version = TS_ABI_VERSION;
  std::uint64_t body_checksum = 0;
  std::uint64_t generation = 0;
  std::uint32_t pairing = 0;
  std::uint32_t epoch = 0;
  std::uint32_t body_bytes = 0;  ///< 0..kBodyBytesMax
  std::uint16_t text_bytes = 0;  ///< 0..kTextBytesMax
  std::uint16_t type = kTypeHello;
  std::uint16_t vm_id = 0;
  bool operator==(const Header&) const = default;
};

/// The header's kHeaderBytes, checksum included.
std::vector<std::byte> encode_header(const Header& header);

/// Errors: not Twinstep's protocol, another wire version, damaged header, lengths out of range.
Result<Header> decode_header(std::span<const std::byte, kHeaderBytes> bytes);

/// XXH3-64 of `bytes`.
std::uint64_t checksum(std::span<const std::byte> bytes);

}  // namespace twinstep::wire
