// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <array>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace twinstep::wire {

/// Appends little-endian integers, byte arrays and short strings to a buffer.
class ByteWriter {
 public:
  template <std::unsigned_integral T>
  void put(T value) {
    for (std::size_t i = 0; i < sizeof(T); ++i) bytes_.push_back(static_cast<std::byte>((value >> (8 * i)) & 0xFF));
  }
  template <std::size_t N>
  void put(const std::array<std::uint8_t, N>& array) {
    for (const auto value : array) put(value);
  }
  void put(std::span<const std::byte> bytes) { bytes_.insert(bytes_.end(), bytes.begin(), bytes.end()); }
  /// A length (16 bits) and the characters. text: up to 65535 bytes, the rest is cut.
  void put_string(std::string_view text) {
    text = text.substr(0, 0xFFFF);
    put(static_cast<std::uint16_t>(text.size()));
    put(std::as_bytes(std::span(text)));
  }
  /// LEB128: seven bits a byte, lowest first, the top bit says that more follow.
  void put_varint(std::uint64_t value) {
    for (; value >= 0x80; value >>= 7) put(static_cast<std::uint8_t>(value | 0x80));
    put(static_cast<std::uint8_t>(value));
  }

  std::vector<std::byte> take() && { return std::move(bytes_); }
  std::size_t size() const { return bytes_.size(); }

 private:
  std::vector<std::byte> bytes_;
};

/// Reads what ByteWriter wrote. Reading past the end gives zeros and sets failed(), to be looked at once after the last
/// read.
class ByteReader {
 public:
  explicit ByteReader(std::span<const std::byte> bytes) : rest_(bytes) {}

  template <std::unsigned_integral T>
  T get() {
    const auto bytes = take(sizeof(T));
    T value = 0;
    for (std::size_t i = 0; i < bytes.size(); ++i)
      value = static_cast<T>(value | static_cast<T>(std::to_integer<T>(bytes[i]) << (8 * i)));
    return value;
  }
  template <std::size_t N>
  std::array<std::uint8_t, N> get_array() {
    std::array<std::uint8_t, N> array{};
    std::ranges::transform(take(N), array.begin(),
                           [](std::byte value) { return std::to_integer<std::uint8_t>(value); });
    return array;
  }
  std::string get_string() {
    const auto bytes = take(get<std::uint16_t>());
    std::string text(bytes.size(), '\0');
    std::ranges::transform(bytes, text.begin(), [](std::byte value) { return std::to_integer<char>(value); });
    return text;
  }
  std::uint64_t get_varint() {
    constexpr unsigned kShiftMax = 63;
    std::uint64_t value = 0;
    for (unsigned shift = 0; shift <= kShiftMax; shift += 7) {
      const auto byte = get<std::uint8_t>();
      value |= std::uint64_t{byte & 0x7FU} << shift;
      if ((byte & 0x80U) == 0) return value;
    }
    failed_ = true;
    return 0;
  }

  bool failed() const { return failed_; }
  bool at_end() const { return rest_.empty(); }

 private:
  /// The next `count` bytes; nothing at all if fewer are left.
  std::span<const std::byte> take(std::size_t count) {
    if (rest_.size() < count) {
      failed_ = true;
      rest_ = {};
      return {};
    }
    const auto taken = rest_.first(count);
    rest_ = rest_.subspan(count);
    return taken;
  }

  std::span<const std::byte> rest_;
  bool failed_ = false;
};

}  // namespace twinstep::wire
