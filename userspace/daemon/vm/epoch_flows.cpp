// SPDX-License-Identifier: Apache-2.0
#include "daemon/vm/epoch_flows.hpp"

#include <bit>
#include <cstdint>
#include <cstring>
#include <optional>
#include <string>
#include <utility>

namespace twinstep::daemon {
namespace {

static_assert(std::endian::native == std::endian::little, "flows are sent in host order, which must be little-endian");

/// One flow as it lies in the image's meta bytes.
struct WireBase {
  compare::FlowKey flow;
  std::uint32_t seq = 0;
  std::uint8_t window_scale = 0;
  std::uint8_t fin_sent = 0;
  std::uint16_t reserved = 0;
};
static_assert(sizeof(WireBase) == 52);

/// Of one NIC, in front of its bases; its translations follow them.
struct WireCounts {
  std::uint32_t bases = 0;
  std::uint32_t translations = 0;
};
static_assert(sizeof(WireCounts) == 8);

/// One translation as it lies there.
struct WireTranslation {
  compare::FlowKey flow;
  std::uint32_t reserved = 0;
  ts_translation numbers{};
};
static_assert(sizeof(WireTranslation) == 72);

WireBase to_wire(const compare::FlowBase& base) {
  return {base.flow, base.seq, base.window_scale, static_cast<std::uint8_t>(base.fin_sent ? 1 : 0), 0};
}

compare::FlowBase from_wire(const WireBase& wire) {
  return {wire.flow, wire.seq, wire.window_scale, wire.fin_sent != 0};
}

/// Appends and takes away plain structs.
template <typename T>
void put(std::vector<std::byte>& bytes, const T& value) {
  const auto raw = std::as_bytes(std::span(&value, 1));
  bytes.insert(bytes.end(), raw.begin(), raw.end());
}

template <typename T>
T take(std::span<const std::byte>& bytes) {
  T value;
  std::memcpy(&value, bytes.data(), sizeof value);
  bytes = bytes.subspan(sizeof value);
  return value;
}

std::size_t bytes_of(const EpochFlows& flows) {
  return sizeof(WireCounts) + flows.bases.size() * sizeof(WireBase) +
         flows.translations.size() * sizeof(WireTranslation);
}

/// Takes one NIC's flows from the front of `bytes`; nothing if there are fewer than their counts say.
std::optional<EpochFlows> take_flows(std::span<const std::byte>& bytes) {
  if (bytes.size() < sizeof(WireCounts)) return std::nullopt;
  const auto counts = take<WireCounts>(bytes);
  if (bytes.size() <
      std::size_t{counts.bases} * sizeof(WireBase) + std::size_t{counts.translations} * sizeof(WireTranslation))
    return std::nullopt;
  EpochFlows flows;
  flows.bases.reserve(counts.bases);
  for (std::uint32_t i = 0; i < counts.bases; ++i) flows.bases.push_back(from_wire(take<WireBase>(bytes)));
  flows.translations.reserve(counts.translations);
  for (std::uint32_t i = 0; i < counts.translations; ++i) {
    const auto wire = take<WireTranslation>(bytes);
    flows.translations.push_back({.flow = wire.flow, .numbers = wire.numbers});
  }
  return flows;
}

}  // namespace

std::vector<std::byte> encode(std::span<const EpochFlows> nics) {
  std::vector<std::byte> bytes;
  std::size_t size = 0;
  for (const auto& flows : nics) size += bytes_of(flows);
  bytes.reserve(size);
  for (const auto& flows : nics) {
    put(bytes, WireCounts{static_cast<std::uint32_t>(flows.bases.size()),
                          static_cast<std::uint32_t>(flows.translations.size())});
    for (const auto& base : flows.bases) put(bytes, to_wire(base));
    for (const auto& each : flows.translations) put(bytes, WireTranslation{each.flow, 0, each.numbers});
  }
  return bytes;
}

Result<std::vector<EpochFlows>> decode_epoch_flows(std::span<const std::byte> bytes, std::size_t nics) {
  const std::size_t given = bytes.size();
  const auto malformed = [&] {
    return fail("the checkpoint's lists of flows have " + std::to_string(given) +
                " bytes, which is not what they say for " + std::to_string(nics) + " NICs");
  };
  std::vector<EpochFlows> all;
  for (std::size_t i = 0; i < nics; ++i) {
    auto flows = take_flows(bytes);
    if (!flows) return malformed();
    all.push_back(std::move(*flows));
  }
  if (!bytes.empty()) return malformed();
  return all;
}

}  // namespace twinstep::daemon
