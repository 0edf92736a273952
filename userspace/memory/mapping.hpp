// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <span>
#include <utility>

#include "core/result.hpp"

namespace twinstep::memory {

/// Owns one mmap(2) mapping, readable and writable.
class Mapping {
 public:
  /// Private zeroed memory, huge pages advised. Costs real memory only where it is touched.
  static Result<Mapping> anonymous(std::size_t bytes);
  /// The first `bytes` of a file.
  struct Piece {
    int fd = -1;
    std::size_t bytes = 0;
  };
  /// Files one after the other, shared with everybody else who maps them. The descriptors may be closed afterwards.
  static Result<Mapping> shared(std::span<const Piece> pieces);

  Mapping() = default;
  ~Mapping();
  Mapping(Mapping&& other) noexcept : bytes_(std::exchange(other.bytes_, {})) {}
  Mapping& operator=(Mapping&& other) noexcept;

  std::span<std::byte> bytes() { return bytes_; }
  std::span<const std::byte> bytes() const { return bytes_; }
  /// Frees the memory behind a part of an anonymous mapping, which then reads as zeros.
  void give_back(std::size_t offset, std::size_t bytes);

 private:
  explicit Mapping(std::span<std::byte> bytes) : bytes_(bytes) {}

  std::span<std::byte> bytes_;
};

}  // namespace twinstep::memory
