// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "core/result.hpp"

namespace twinstep::wire {

using MacAddress = std::array<std::uint8_t, 6>;

/// Most NICs of a VM.
inline constexpr std::size_t kNicsMax = 4;

/// One NIC of the VM, as the primary has it.
struct PrepareNic {
  MacAddress mac{};
  std::uint32_t mtu_bytes = 0;  ///< of the uplink, and so of the guest
  bool guest_offloads = false;  ///< the guest's NIC offers checksum and segmentation offloads
  bool operator==(const PrepareNic&) const = default;
};

/// Body of `prepare`: what the secondary must agree with before it makes itself ready, and what it needs to know of the
/// primary.
struct PrepareBody {
  std::string vm_name;
  std::uint16_t vm_id = 0;
  std::uint64_t memory_bytes = 0;
  std::uint64_t definition_hash = 0;           ///< of what must be the same in both hosts' configurations
  std::array<std::uint8_t, 16> digest_seed{};  ///< random, anew for each pairing: the key of the comparison's digests
  MacAddress link_mac{};                       ///< the primary's end of the link
  std::string machine_type;                    ///< as QEMU resolves it, for example "pc-q35-7.2"
  std::uint16_t page_stream_port = 0;          ///< where the primary would listen; 0: it doesn't
  std::vector<PrepareNic> nics;                ///< 1..kNicsMax
  bool operator==(const PrepareBody&) const = default;
};

/// Body of `prepared`.
struct PreparedBody {
  MacAddress link_mac{};               ///< the secondary's end of the link
  std::uint16_t page_stream_port = 0;  ///< where the secondary listens for the page stream
  bool operator==(const PreparedBody&) const = default;
};

std::vector<std::byte> encode(const PrepareBody& body);
Result<PrepareBody> decode_prepare(std::span<const std::byte> bytes);

std::vector<std::byte> encode(const PreparedBody& body);
Result<PreparedBody> decode_prepared(std::span<const std::byte> bytes);

/// Body of `svm_stopped`: what the SVM wrote, as encode_page_set() makes it, and hashes of the first of these pages,
/// 16 bytes each.
struct SvmStoppedBody {
  std::vector<std::uint64_t> words;
  std::vector<std::byte> hashes;
};
std::vector<std::byte> encode_svm_stopped(std::size_t pages, std::span<const std::uint64_t> words,
                                          std::span<const std::byte> hashes);
/// Errors: as decode_page_set(), or there are more hashes than pages, or a part of one.
Result<SvmStoppedBody> decode_svm_stopped(std::size_t pages, std::span<const std::byte> bytes);

/// A set of guest pages as run lengths. Page n is bit n % 64 of word n / 64; bits beyond `pages`
/// must be zero. words: one per 64 pages, the last one counted whole.
std::vector<std::byte> encode_page_set(std::size_t pages, std::span<const std::uint64_t> words);

/// The words of a set of `pages` pages. Errors: the set is of another number of pages, or its runs don't fit into it.
Result<std::vector<std::uint64_t>> decode_page_set(std::size_t pages, std::span<const std::byte> bytes);

}  // namespace twinstep::wire
