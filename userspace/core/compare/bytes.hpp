// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>

namespace twinstep::compare {

// Fields of headers, which need not be aligned. The caller has checked that they lie inside `bytes`.

/// As it lies in memory, that is in network order.
inline std::uint16_t load_raw16(std::span<const std::byte> bytes, std::size_t offset) {
  std::uint16_t value = 0;
  std::memcpy(&value, bytes.data() + offset, sizeof value);
  return value;
}
inline std::uint32_t load_raw32(std::span<const std::byte> bytes, std::size_t offset) {
  std::uint32_t value = 0;
  std::memcpy(&value, bytes.data() + offset, sizeof value);
  return value;
}

inline std::uint16_t load_be16(std::span<const std::byte> bytes, std::size_t offset) {
  return __builtin_bswap16(load_raw16(bytes, offset));
}
inline std::uint32_t load_be32(std::span<const std::byte> bytes, std::size_t offset) {
  return __builtin_bswap32(load_raw32(bytes, offset));
}

inline void store_be16(std::span<std::byte> bytes, std::size_t offset, std::uint16_t value) {
  value = __builtin_bswap16(value);
  std::memcpy(bytes.data() + offset, &value, sizeof value);
}
inline void store_be32(std::span<std::byte> bytes, std::size_t offset, std::uint32_t value) {
  value = __builtin_bswap32(value);
  std::memcpy(bytes.data() + offset, &value, sizeof value);
}

}  // namespace twinstep::compare
