// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <bit>
#include <cstdint>

namespace twinstep::compare {

__extension__ using Uint128 = unsigned __int128;

/// Arithmetic modulo n, 2 <= n < 2^69. Products of two residues need 138 bits, so one factor is taken in limbs of 23
/// bits, and each partial sum is reduced with a precomputed reciprocal (Barrett, 1986) where `%` would cost a library
/// division.
class Modulus {
 public:
  constexpr Modulus() = default;
  constexpr explicit Modulus(Uint128 n)
      : n_(n),
        bits_(bit_width(n)),
        shift_(bits_ > kHeadBits ? bits_ - kHeadBits : 0),
        reciprocal_(reciprocal(n, shift_)) {}

  constexpr Uint128 value() const { return n_; }

  /// x mod n for any x; fast for the partial sums of multiply().
  constexpr Uint128 reduce(Uint128 x) const {
    if ((x >> (bits_ + kFastBits)) != 0) return x % n_;
    // The head of x fits 63 bits, so the estimate is at most one too small.
    const auto head = static_cast<std::uint64_t>(x >> shift_);
    const Uint128 quotient = (Uint128{head} * reciprocal_) >> 64;
    const Uint128 rest = x - quotient * n_;
    return rest >= n_ ? rest - n_ : rest;
  }

  /// a + b mod n. a, b: residues.
  constexpr Uint128 add(Uint128 a, Uint128 b) const {
    const Uint128 sum = a + b;
    return sum >= n_ ? sum - n_ : sum;
  }

  /// a * b mod n. a, b: residues.
  constexpr Uint128 multiply(Uint128 a, Uint128 b) const {
    const Uint128 high = reduce(a * (b >> (2 * kLimbBits)));
    const Uint128 middle = reduce((high << kLimbBits) + a * ((b >> kLimbBits) & kLimbMask));
    return reduce((middle << kLimbBits) + a * (b & kLimbMask));
  }

  /// base^exponent mod n. base: a residue.
  constexpr Uint128 power(Uint128 base, Uint128 exponent) const {
    Uint128 result = 1 % n_;
    for (; exponent != 0; exponent >>= 1) {
      if ((exponent & 1) != 0) result = multiply(result, base);
      base = multiply(base, base);
    }
    return result;
  }

  static constexpr unsigned bit_width(Uint128 x) {
    const auto high = static_cast<std::uint64_t>(x >> 64);
    const auto low = static_cast<std::uint64_t>(x);
    return static_cast<unsigned>(high != 0 ? 64 + std::bit_width(high) : std::bit_width(low));
  }

 private:
  static constexpr unsigned kLimbBits = 23;
  static constexpr Uint128 kLimbMask = (Uint128{1} << kLimbBits) - 1;
  /// Partial sums are under n * 2^24.
  static constexpr unsigned kFastBits = kLimbBits + 1;
  /// Bits of n that take part in the estimate, such that (n << kFastBits) >> shift fits 63 bits.
  static constexpr unsigned kHeadBits = 39;

  /// floor(2^(64 + shift) / n), below 2^64 for n >= 2.
  static constexpr std::uint64_t reciprocal(Uint128 n, unsigned shift) {
    return static_cast<std::uint64_t>((Uint128{1} << (64 + shift)) / n);
  }

  Uint128 n_ = 2;
  unsigned bits_ = 2;
  unsigned shift_ = 0;
  std::uint64_t reciprocal_ = std::uint64_t{1} << 63;
};

/// Whether n is prime. n < 2^69.
bool is_prime(Uint128 n);

}  // namespace twinstep::compare
