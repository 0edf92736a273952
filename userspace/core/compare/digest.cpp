// SPDX-License-Identifier: Apache-2.0
#include "core/compare/digest.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>

#include "bpf/abi/twinstep_match.h"
#include "bpf/abi/twinstep_packet.h"
#include "core/compare/siphash.hpp"

namespace twinstep::compare {
namespace {

static_assert(std::endian::native == std::endian::little, "words are read from the frame as they lie there");

constexpr std::size_t kWordBytes = 4;
constexpr std::uint32_t kLimbMask = (std::uint32_t{1} << TS_DIGEST_LIMB_BITS) - 1;

// What the numbers drawn from a seed are for.
constexpr std::uint64_t kForFlows = 0;
constexpr std::uint64_t kForPrime = std::uint64_t{1} << 32;

/// A prime of exactly `bits` bits, each with the same probability: of random odd numbers the first that is one. The
/// first prime behind a random number would not do, as one behind a long gap is likelier, and streams can be made to
/// fit those.
Uint128 prime_from(std::span<const std::byte, 16> seed, unsigned bits) {
  const Uint128 lowest = Uint128{1} << (bits - 1);
  for (std::uint64_t number = kForPrime;; number += 2) {
    const Uint128 drawn = (Uint128{siphash(seed, number)} << 64) | siphash(seed, number + 1);
    const Uint128 candidate = lowest | (drawn & (lowest - 1)) | 1;
    if (is_prime(candidate)) return candidate;
  }
}

/// The accumulators exactly as the XDP programs compute them. bytes: up to TS_DIGEST_BYTES_MAX.
std::array<__u64, TS_DIGEST_LIMBS> accumulate(const ts_digest_key& key, std::span<const std::byte> bytes) {
  // In variables of their own, so that the loop keeps them in registers.
  std::uint64_t acc0 = 0, acc1 = 0, acc2 = 0;
  const auto add = [&](std::size_t index, std::uint64_t word) {
    acc0 += word * key.table[0][index];
    acc1 += word * key.table[1][index];
    acc2 += word * key.table[2][index];
  };
  const std::size_t words = bytes.size() / kWordBytes;
  for (std::size_t index = 0; index < words; ++index) {
    std::uint32_t word = 0;
    std::memcpy(&word, bytes.data() + index * kWordBytes, kWordBytes);
    add(index, word);
  }
  const auto tail = bytes.subspan(words * kWordBytes);
  if (!tail.empty()) {
    std::uint32_t word = 0;
    std::memcpy(&word, tail.data(), tail.size());
    add(words, word);
  }
  return {acc0, acc1, acc2};
}

ts_flow_id_key flow_ids_from(std::span<const std::byte, 16> seed) {
  ts_flow_id_key key{};
  std::uint64_t number = kForFlows;
  for (auto& factors : key.factor)
    for (auto& factor : factors) factor = siphash(seed, number++);
  return key;
}

}  // namespace

DigestKey::DigestKey(Uint128 prime, std::span<const std::byte, 16> seed)
    : modulus_(prime), flow_ids_(flow_ids_from(seed)) {
  const Uint128 word_power = modulus_.reduce(Uint128{1} << (8 * kWordBytes));
  Uint128 power = 1;
  for (std::size_t index = 0; index < TS_DIGEST_WORDS; ++index) {
    for (unsigned limb = 0; limb < TS_DIGEST_LIMBS; ++limb)
      table_.table[limb][index] = static_cast<std::uint32_t>(power >> (TS_DIGEST_LIMB_BITS * limb)) & kLimbMask;
    power = modulus_.multiply(power, word_power);
  }
  window_power_ = power;

  // Fermat: x^(p-2) is the inverse of x.
  const Uint128 inverse = modulus_.power(modulus_.reduce(256), prime - 2);
  const Uint128 inverse_256 = modulus_.power(inverse, 256);
  inverse_fine_[0] = inverse_coarse_[0] = 1;
  for (std::size_t n = 1; n < inverse_fine_.size(); ++n) {
    inverse_fine_[n] = modulus_.multiply(inverse_fine_[n - 1], inverse);
    inverse_coarse_[n] = modulus_.multiply(inverse_coarse_[n - 1], inverse_256);
  }
}

DigestKey DigestKey::from_seed(std::span<const std::byte, 16> seed) {
  return {prime_from(seed, kPrimeBits), seed};
}

DigestKey DigestKey::weakened(std::span<const std::byte, 16> seed, unsigned bits) {
  return {prime_from(seed, std::clamp(bits, 8U, kPrimeBits)), seed};
}

FlowId DigestKey::flow_id(const FlowKey& flow) const {
  return ts_flow_id(&flow_ids_, &flow);
}

Digest DigestKey::reduce(const __u64 (&acc)[TS_DIGEST_LIMBS]) const {
  const Digest high = modulus_.reduce(acc[2]);
  const Digest middle = modulus_.reduce((high << TS_DIGEST_LIMB_BITS) + acc[1]);
  return modulus_.reduce((middle << TS_DIGEST_LIMB_BITS) + acc[0]);
}

Digest DigestKey::of(std::span<const std::byte> bytes) const {
  Digest digest = 0;
  // From the last window to the first, so that one fixed power joins them (Horner).
  for (std::size_t end = bytes.size(); end > 0;) {
    const std::size_t begin = (end - 1) / TS_DIGEST_BYTES_MAX * TS_DIGEST_BYTES_MAX;
    const auto acc = accumulate(table_, bytes.subspan(begin, end - begin));
    digest = modulus_.add(modulus_.multiply(digest, window_power_), reduce({acc[0], acc[1], acc[2]}));
    end = begin;
  }
  return digest;
}

Digest DigestKey::append(Digest cumulative, Digest part, std::size_t bytes) const {
  const Digest sum = modulus_.add(cumulative, part);
  const Digest fine = modulus_.multiply(sum, inverse_fine_[bytes & 0xff]);
  return modulus_.multiply(fine, inverse_coarse_[(bytes >> 8) & 0xff]);
}

std::unique_ptr<ts_append_key> DigestKey::append_key() const {
  if (Modulus::bit_width(prime()) != kPrimeBits) return nullptr;
  auto key = std::make_unique<ts_append_key>();
  const auto limb = [](Uint128 value, unsigned index) {
    return static_cast<std::uint32_t>(value >> (TS_DIGEST_LIMB_BITS * index)) & kLimbMask;
  };
  for (std::size_t bytes = 0; bytes <= TS_DIGEST_BYTES_MAX; ++bytes) {
    Uint128 power = modulus_.multiply(inverse_fine_[bytes & 0xff], inverse_coarse_[bytes >> 8]);
    for (auto& limbs : key->power[bytes]) {
      for (unsigned i = 0; i < TS_DIGEST_LIMBS; ++i) limbs[i] = limb(power, i);
      power = modulus_.multiply(power, Uint128{1} << TS_DIGEST_LIMB_BITS);
    }
  }
  for (unsigned i = 0; i < TS_DIGEST_LIMBS; ++i) key->prime[i] = limb(prime(), i);
  key->reciprocal = static_cast<std::uint64_t>((Uint128{1} << 103) / prime());
  return key;
}

}  // namespace twinstep::compare
