// SPDX-License-Identifier: Apache-2.0
#include "core/compare/digest.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <random>
#include <utility>
#include <vector>

#include "keys.hpp"

namespace twinstep::compare {
namespace {

using testing::seed_bytes;
using testing::test_key;

/// The definition, byte by byte, with no reciprocal and no limb: D = sum of byte_i * 256^i mod p, from the end
/// (Horner).
Digest naive_digest(std::span<const std::byte> bytes, Uint128 prime) {
  Digest digest = 0;
  for (std::size_t i = bytes.size(); i-- > 0;) digest = (digest * 256 + std::to_integer<unsigned>(bytes[i])) % prime;
  return digest;
}

/// 256^n mod p by repeated multiplication.
Uint128 naive_power(std::size_t n, Uint128 prime) {
  Uint128 power = 1 % prime;
  for (std::size_t i = 0; i < n; ++i) power = power * 256 % prime;
  return power;
}

/// a * b mod p by doubling.
Uint128 naive_product(Uint128 a, Uint128 b, Uint128 prime) {
  Uint128 product = 0;
  for (; b != 0; b >>= 1, a = a * 2 % prime) {
    if ((b & 1) != 0) product = (product + a) % prime;
  }
  return product;
}

std::vector<std::byte> random_bytes(std::mt19937_64& random, std::size_t size) {
  std::vector<std::byte> bytes(size);
  for (auto& byte : bytes) byte = static_cast<std::byte>(random());
  return bytes;
}

TEST(Modulus, AgreesWithPlainDivisionForModuliOfEverySize) {
  std::mt19937_64 random(1);
  for (unsigned bits = 2; bits <= 69; ++bits) {
    for (int round = 0; round < 200; ++round) {
      const Uint128 wide = (Uint128{random()} << 64) | random();
      const Uint128 n = (Uint128{1} << (bits - 1)) | (wide & ((Uint128{1} << (bits - 1)) - 1));
      const Modulus modulus(n);
      const Uint128 x = ((Uint128{random()} << 64) | random()) >> (random() % 128);
      ASSERT_TRUE(modulus.reduce(x) == x % n) << bits << " bits";
      // The ends of the range are where an estimate is off by one.
      const Uint128 top = (Uint128{1} << (bits + 24)) - 1;
      ASSERT_TRUE(modulus.reduce(top) == top % n);
      ASSERT_TRUE(modulus.reduce(top / n * n) == 0);
      ASSERT_TRUE(modulus.reduce(top / n * n - 1) == n - 1);
      const Uint128 a = x % n;
      const Uint128 b = wide % n;
      ASSERT_TRUE(modulus.multiply(a, b) == naive_product(a, b, n)) << bits << " bits";
    }
  }
}

TEST(Modulus, KnowsPrimes) {
  const auto by_division = [](unsigned n) {
    for (unsigned d = 2; d * d <= n; ++d) {
      if (n % d == 0) return false;
    }
    return n >= 2;
  };
  for (unsigned n = 0; n < 20'000; ++n) ASSERT_EQ(is_prime(n), by_division(n)) << n;
  EXPECT_TRUE(is_prime((Uint128{1} << 61) - 1));
  EXPECT_FALSE(is_prime((Uint128{1} << 67) - 1));  // 193707721 * 761838257287
  EXPECT_FALSE(is_prime(3'215'031'751U));          // strong pseudoprime to the bases 2, 3, 5 and 7
  EXPECT_FALSE(is_prime(Uint128{4'294'967'291U} * 4'294'967'279U));
}

TEST(Digest, PrimeHasExactlyTheBitsAskedFor) {
  for (unsigned number = 0; number < 20; ++number) {
    const auto key = DigestKey::from_seed(seed_bytes(number));
    EXPECT_EQ(Modulus::bit_width(key.prime()), 69U);
    EXPECT_TRUE(is_prime(key.prime()));
    for (const unsigned bits : {8U, 16U, 23U, 40U}) {
      EXPECT_EQ(Modulus::bit_width(DigestKey::weakened(seed_bytes(number), bits).prime()), bits);
    }
  }
}

TEST(Digest, EveryPrimeIsAsLikely) {
  // Of 8 bits there are 23 primes; 149 follows a gap of 10, 151 one of 2.
  constexpr unsigned kKeys = 11'500;
  std::map<unsigned, unsigned> drawn;
  for (unsigned number = 0; number < kKeys; ++number)
    ++drawn[static_cast<unsigned>(DigestKey::weakened(seed_bytes(number), 8).prime())];
  EXPECT_EQ(drawn.size(), 23U);
  // Mean 500, standard deviation 22.
  for (const auto& [prime, times] : drawn) EXPECT_NEAR(times, 500, 110) << prime;
}

TEST(Digest, SameSeedSameKeyOtherSeedOtherKey) {
  EXPECT_TRUE(test_key(1).prime() == test_key(1).prime());
  EXPECT_FALSE(test_key(1).prime() == test_key(2).prime());
}

TEST(Digest, AgreesWithTheDefinitionAtEveryLength) {
  std::mt19937_64 random(2);
  const auto key = test_key();
  std::vector<std::size_t> sizes;
  for (std::size_t size = 0; size < 70; ++size) sizes.push_back(size);
  for (const std::size_t size : {1448U, 2047U, 2048U, 2049U, 4096U, 9001U, 65'535U}) sizes.push_back(size);
  for (const auto size : sizes) {
    const auto bytes = random_bytes(random, size);
    ASSERT_TRUE(key.of(bytes) == naive_digest(bytes, key.prime())) << size;
  }
}

TEST(Digest, AccumulatorsDoNotOverflowOnTheLargestPayload) {
  const auto key = test_key();
  const std::vector<std::byte> bytes(TS_DIGEST_BYTES_MAX, std::byte{0xff});
  EXPECT_TRUE(key.of(bytes) == naive_digest(bytes, key.prime()));
}

TEST(Digest, TableHoldsThePowersInLimbs) {
  const auto key = test_key();
  for (const std::size_t index : {std::size_t{0}, std::size_t{1}, std::size_t{100}, std::size_t{TS_DIGEST_WORDS - 1}}) {
    Uint128 power = 0;
    for (unsigned limb = 0; limb < TS_DIGEST_LIMBS; ++limb) {
      ASSERT_LT(key.table().table[limb][index], 1U << TS_DIGEST_LIMB_BITS);
      power |= Uint128{key.table().table[limb][index]} << (TS_DIGEST_LIMB_BITS * limb);
    }
    EXPECT_TRUE(power == naive_power(4 * index, key.prime())) << index;
  }
}

TEST(Digest, CombinesAtEveryByte) {
  std::mt19937_64 random(3);
  const auto key = test_key();
  const auto bytes = random_bytes(random, 300);
  const std::span<const std::byte> all(bytes);
  for (std::size_t cut = 0; cut <= bytes.size(); ++cut) {
    const Digest head = key.of(all.first(cut));
    const Digest tail = key.of(all.subspan(cut));
    const Digest joined = (head + naive_product(naive_power(cut, key.prime()), tail, key.prime())) % key.prime();
    ASSERT_TRUE(joined == key.of(all)) << cut;
  }
}

TEST(Digest, CumulativeDoesNotDependOnTheCuts) {
  std::mt19937_64 random(4);
  const auto key = test_key();
  const auto bytes = random_bytes(random, 200'000);
  const auto cumulative = [&](std::size_t part_max) {
    Digest digest = 0;
    for (std::size_t at = 0; at < bytes.size();) {
      const std::size_t part = std::min<std::size_t>(bytes.size() - at, random() % (part_max + 1));
      digest = key.append(digest, key.of(std::span(bytes).subspan(at, part)), part);
      at += part;
    }
    return digest;
  };
  const Digest coarse = cumulative(65'535);
  EXPECT_TRUE(coarse == cumulative(1448));
  EXPECT_TRUE(coarse == cumulative(3));
  // By definition: 256^n * C = D.
  EXPECT_TRUE(naive_product(coarse, naive_power(bytes.size(), key.prime()), key.prime()) == key.of(bytes));
}

/// Adds two numbers of equal length, lowest byte first.
std::vector<std::byte> sum_of(std::span<const std::byte> a, std::span<const std::byte> b) {
  std::vector<std::byte> sum;
  unsigned carry = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    carry += std::to_integer<unsigned>(a[i]) + std::to_integer<unsigned>(b[i]);
    sum.push_back(static_cast<std::byte>(carry & 0xff));
    carry >>= 8;
  }
  return sum;
}

/// The product of the lowest primes of `bits` bits that stays below 256^size / 2, and how many they are.
std::pair<std::vector<std::byte>, unsigned> product_of_primes(std::size_t size, unsigned bits) {
  std::vector<std::byte> product(size);
  product[0] = std::byte{1};
  unsigned factors = 0;
  for (unsigned n = 1U << (bits - 1);; ++n) {
    if (!is_prime(n)) continue;
    std::vector<std::byte> next;
    unsigned carry = 0;
    for (const std::byte byte : product) {
      carry += std::to_integer<unsigned>(byte) * n;
      next.push_back(static_cast<std::byte>(carry & 0xff));
      carry >>= 8;
    }
    if (carry != 0 || (next.back() & std::byte{0x80}) != std::byte{0}) return {product, factors};
    product = next;
    ++factors;
  }
}

/// The worst that two payloads of 64 bytes can do: they differ by a product of as many primes as fit. The bound of
/// docs/protocol.md for primes of 12 bits: (512 / 11) / 255 = 0.183.
TEST(Digest, WeakenedKeyCollidesAsOftenAsTheBoundSays) {
  constexpr std::size_t kBytes = 64;
  constexpr unsigned kBits = 12;
  constexpr double kPrimes = 255;  // of 12 bits
  constexpr unsigned kKeys = 20'000;
  const double bound = 8.0 * kBytes / (kBits - 1) / kPrimes;

  const auto [difference, factors] = product_of_primes(kBytes, kBits);
  std::mt19937_64 random(6);
  auto one = random_bytes(random, kBytes);
  one.back() &= std::byte{0x7f};
  const auto other = sum_of(one, difference);
  unsigned collisions = 0;
  for (unsigned number = 0; number < kKeys; ++number) {
    const auto key = DigestKey::weakened(seed_bytes(number), kBits);
    if (key.of(one) == key.of(other)) ++collisions;
  }
  const double rate = static_cast<double>(collisions) / kKeys;
  // Standard deviation 0.0027.
  EXPECT_NEAR(rate, factors / kPrimes, 0.0135);
  EXPECT_LE(rate, bound + 0.0135);
  EXPECT_GT(rate, bound * 0.85) << "the bound is nearly reached";
}

/// Payloads that nobody made to collide do so as two random residues would: once in p.
TEST(Digest, WeakenedKeyCollidesOnRandomPayloadsOnceInP) {
  constexpr unsigned kPairs = 400'000;
  constexpr unsigned kKeys = 100;
  std::mt19937_64 random(5);
  double expected = 0;
  unsigned collisions = 0;
  for (unsigned number = 0; number < kKeys; ++number) {
    const auto key = DigestKey::weakened(seed_bytes(number), 12);
    for (unsigned pair = 0; pair < kPairs / kKeys; ++pair)
      if (key.of(random_bytes(random, 32)) == key.of(random_bytes(random, 32))) ++collisions;
    expected += kPairs / kKeys / static_cast<double>(key.prime());
  }
  EXPECT_NEAR(collisions, expected, 5 * std::sqrt(expected));
}

TEST(Digest, RealKeySeesWhatTheWeakenedOneDoesNot) {
  const auto difference = product_of_primes(64, 12).first;
  const std::vector<std::byte> one(64);
  for (unsigned number = 0; number < 2000; ++number) {
    const auto key = test_key(number);
    ASSERT_FALSE(key.of(one) == key.of(difference));
  }
}

}  // namespace
}  // namespace twinstep::compare
