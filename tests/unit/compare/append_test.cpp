// SPDX-License-Identifier: Apache-2.0
// The digest of a stream as the XDP programs compute it, against DigestKey::append.
#include <gtest/gtest.h>

#include <random>

#include "bpf/abi/twinstep_match.h"
#include "core/compare/digest.hpp"
#include "keys.hpp"

namespace twinstep::compare {
namespace {

struct Raw {
  __u64 acc[TS_DIGEST_LIMBS];
};

Raw accumulate(const DigestKey& key, std::span<const std::byte> bytes) {
  Raw raw{};
  for (std::size_t at = 0; at < bytes.size(); ++at) {
    const auto shifted = std::to_integer<std::uint64_t>(bytes[at]) << (8 * (at % 4));
    for (std::size_t limb = 0; limb < TS_DIGEST_LIMBS; ++limb)
      raw.acc[limb] += shifted * key.table().table[limb][at / 4];
  }
  return raw;
}

Digest digest_of(const ts_residue& residue) {
  return Digest{residue.hi} << 64 | residue.lo;
}

TEST(Append, IsTheDigestKeys) {
  std::mt19937_64 random(7);
  for (std::uint64_t number = 0; number < 20; ++number) {
    const DigestKey key = testing::test_key(number);
    const auto table = key.append_key();
    ASSERT_TRUE(table);
    ts_residue residue{};
    Digest digest = 0;
    for (int round = 0; round < 200; ++round) {
      std::vector<std::byte> bytes(random() % (TS_DIGEST_BYTES_MAX + 1));
      const bool largest = random() % 4 == 0;
      for (auto& byte : bytes) byte = largest ? std::byte{0xff} : static_cast<std::byte>(random());
      const Raw raw = accumulate(key, bytes);
      digest = key.append(digest, key.reduce(raw.acc), bytes.size());
      ts_append(table.get(), raw.acc, static_cast<__u32>(bytes.size()), &residue);
      ASSERT_TRUE(digest_of(residue) == digest) << "key " << number << ", " << bytes.size() << " bytes";
    }
  }
}

TEST(Append, ReducesWhatIsLargest) {
  for (std::uint64_t number = 0; number < 200; ++number) {
    const DigestKey key = testing::test_key(number);
    const auto table = key.append_key();
    // What 512 products of a full word with a full limb come to, on top of the largest residue.
    const std::uint64_t most = 512 * std::uint64_t{0xffffffff} * ((1U << TS_DIGEST_LIMB_BITS) - 1);
    const Raw raw{{most, most, most}};
    const Digest last = key.prime() - 1;
    ts_residue residue{
        .lo = static_cast<std::uint64_t>(last), .hi = static_cast<std::uint32_t>(last >> 64), .reserved = 0};
    ts_append(table.get(), raw.acc, 0, &residue);
    ASSERT_TRUE(digest_of(residue) == (key.reduce(raw.acc) + last) % key.prime()) << number;
  }
}

TEST(Append, HasNoTableForAWeakenedKey) {
  EXPECT_FALSE(DigestKey::weakened(testing::seed_bytes(1), 20).append_key());
}

}  // namespace
}  // namespace twinstep::compare
