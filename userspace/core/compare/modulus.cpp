// SPDX-License-Identifier: Apache-2.0
#include "core/compare/modulus.hpp"

#include <algorithm>
#include <array>

namespace twinstep::compare {
namespace {

// As bases of the Miller-Rabin test the first 13 primes leave no pseudoprime under 3.3 * 10^24, which is over 2^81
// (Sorenson & Webster, "Strong pseudoprimes to twelve prime bases", 2015).
constexpr std::array<unsigned, 13> kBases = {2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41};

/// Whether n = odd * 2^twos + 1 passes for a prime with this base.
bool passes(const Modulus& modulus, Uint128 odd, unsigned twos, unsigned base) {
  const Uint128 minus_one = modulus.value() - 1;
  Uint128 x = modulus.power(base, odd);
  if (x == 1) return true;
  for (unsigned squared = 0; squared < twos; ++squared) {
    if (x == minus_one) return true;
    x = modulus.multiply(x, x);
  }
  return false;
}

}  // namespace

bool is_prime(Uint128 n) {
  if (n < 2) return false;
  for (const unsigned base : kBases) {
    if (n % base == 0) return n == base;
  }
  const Modulus modulus(n);
  Uint128 odd = n - 1;
  unsigned twos = 0;
  for (; (odd & 1) == 0; odd >>= 1) ++twos;
  return std::all_of(kBases.begin(), kBases.end(), [&](unsigned base) { return passes(modulus, odd, twos, base); });
}

}  // namespace twinstep::compare
