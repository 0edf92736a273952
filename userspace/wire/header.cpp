// SPDX-License-Identifier: Apache-2.0
#include "wire/header.hpp"

#include <xxhash.h>

#include <algorithm>
#include <array>
#include <utility>

#include "wire/bytes.hpp"

namespace twinstep::wire {
namespace {

constexpr std::size_t kChecksumOffset = 8;
constexpr std::size_t kPaddingBytes = 14;
static_assert(4 + 2 + 2 + 3 * 8 + 3 * 4 + 3 * 2 + kPaddingBytes == kHeaderBytes, "the fields fill the header");

/// The checksum covers the whole header, its own field counted as zero.
std::uint64_t header_checksum(std::span<const std::byte> bytes) {
  std::array<std::byte, kHeaderBytes> copy{};
  std::ranges::copy(bytes, copy.begin());
  std::fill_n(copy.begin() + kChecksumOffset, sizeof(std::uint64_t), std::byte{0});
  return checksum(copy);
}

}  // namespace

std::uint64_t checksum(std::span<const std::byte> bytes) {
  return XXH3_64bits(bytes.data(), bytes.size());
}

std::vector<std::byte> encode_header(const Header& header) {
  ByteWriter writer;
  writer.put(kMagic);
  writer.put(header.wire_version);
  writer.put(header.abi_version);
  writer.put(std::uint64_t{0});
  writer.put(header.body_checksum);
  writer.put(header.generation);
  writer.put(header.pairing);
  writer.put(header.epoch);
  writer.put(header.body_bytes);
  writer.put(header.text_bytes);
  writer.put(header.type);
  writer.put(header.vm_id);
  writer.put(std::array<std::uint8_t, kPaddingBytes>{});
  auto bytes = std::move(writer).take();

  ByteWriter sum;
  sum.put(header_checksum(bytes));
  std::ranges::copy(std::move(sum).take(), bytes.begin() + kChecksumOffset);
  return bytes;
}

Result<Header> decode_header(std::span<const std::byte, kHeaderBytes> bytes) {
  ByteReader reader(bytes);
  if (reader.get<std::uint32_t>() != kMagic)
    return fail("what arrived on the control connection is not Twinstep's protocol: check the configured link port");
  Header header;
  header.wire_version = reader.get<std::uint16_t>();
  if (header.wire_version != kWireVersion)
    return fail("the peer's daemon speaks wire version " + std::to_string(header.wire_version) + " and this one " +
                std::to_string(kWireVersion) + ": install the same Twinstep version on both hosts");
  header.abi_version = reader.get<std::uint16_t>();
  if (reader.get<std::uint64_t>() != header_checksum(bytes))
    return fail("a control message arrived with a damaged header: the connection is closed and made anew");
  header.body_checksum = reader.get<std::uint64_t>();
  header.generation = reader.get<std::uint64_t>();
  header.pairing = reader.get<std::uint32_t>();
  header.epoch = reader.get<std::uint32_t>();
  header.body_bytes = reader.get<std::uint32_t>();
  header.text_bytes = reader.get<std::uint16_t>();
  header.type = reader.get<std::uint16_t>();
  header.vm_id = reader.get<std::uint16_t>();
  if (header.body_bytes > kBodyBytesMax || header.text_bytes > kTextBytesMax)
    return fail("a control message announces " + std::to_string(header.text_bytes) + " bytes of text and " +
                std::to_string(header.body_bytes) + " of body, more than the limits of " +
                std::to_string(kTextBytesMax) + " and " + std::to_string(kBodyBytesMax));
  return header;
}

}  // namespace twinstep::wire
