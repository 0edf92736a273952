// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "bpf/abi/twinstep_abi.h"
#include "core/compare/flow_key.hpp"
#include "core/compare/modulus.hpp"

struct ts_append_key;

namespace twinstep::compare {

/// A reduced KR69 digest: a residue mod the key's prime, under 2^69.
using Digest = Uint128;

/// What a pairing's two hosts share: the key of the KR69 digest, and that of the flows' numbers on the link.
/// The digest is a Karp-Rabin fingerprint (Karp & Rabin, "Efficient randomized pattern-matching algorithms",
/// 1987) over a random 69-bit prime p. D(bytes) = sum of byte_i * 256^i mod p, so D(a||b) = D(a) + 256^|a| * D(b). Both
/// hosts of a pairing hold the same key; it is drawn anew for each pairing and never leaves them.
class DigestKey {
 public:
  static constexpr unsigned kPrimeBits = 69;

  /// Draws p and what numbers the flows from 16 random bytes. Deterministic; every prime of 69 bits is as likely.
  static DigestKey from_seed(std::span<const std::byte, 16> seed);
  /// A key over a prime of fewer bits, to test what a collision does. bits: 8..69.
  static DigestKey weakened(std::span<const std::byte, 16> seed, unsigned bits);

  Uint128 prime() const { return modulus_.value(); }
  /// The table that the XDP programs use.
  const ts_digest_key& table() const { return table_; }

  FlowId flow_id(const FlowKey& flow) const;

  /// The digest of `bytes`, computed in user space. Any length.
  Digest of(std::span<const std::byte> bytes) const;
  /// Reduces the raw accumulators of a frame's metadata.
  Digest reduce(const __u64 (&acc)[TS_DIGEST_LIMBS]) const;

  const ts_flow_id_key& flow_ids() const { return flow_ids_; }
  /// The table by which the XDP programs append; nothing for a weakened key. A fresh copy, of 120 KiB.
  std::unique_ptr<ts_append_key> append_key() const;

  /// Cumulative digest C of a stream: C(empty) = 0, C(a||b) = 256^-|b| * (C(a) + D(b)) mod p. Equal streams of equal
  /// length have equal C however they were cut; it needs no running power. Two multiplications. bytes: 0..65535.
  Digest append(Digest cumulative, Digest part, std::size_t bytes) const;

 private:
  DigestKey(Uint128 prime, std::span<const std::byte, 16> seed);

  Modulus modulus_;
  ts_digest_key table_{};
  ts_flow_id_key flow_ids_{};
  Uint128 window_power_ = 0;                   ///< 256^TS_DIGEST_BYTES_MAX
  std::array<Uint128, 256> inverse_fine_{};    ///< 256^-n
  std::array<Uint128, 256> inverse_coarse_{};  ///< 256^-(256 n)
};

}  // namespace twinstep::compare
