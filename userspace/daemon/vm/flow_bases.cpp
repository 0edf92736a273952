// SPDX-License-Identifier: Apache-2.0
#include "daemon/vm/flow_bases.hpp"

#include <bit>
#include <cstdint>
#include <cstring>
#include <string>

namespace twinstep::daemon {
namespace {

static_assert(std::endian::native == std::endian::little,
              "flow bases are sent in host order, which must be little-endian");

/// One flow as it lies in the image's meta bytes.
struct WireBase {
  compare::FlowKey flow;
  std::uint32_t seq = 0;
  std::uint8_t window_scale = 0;
  std::uint8_t fin_sent = 0;
  std::uint16_t reserved = 0;
};
static_assert(sizeof(WireBase) == 52);

}  // namespace

std::vector<std::byte> encode_flow_bases(std::span<const compare::FlowBase> bases) {
  std::vector<std::byte> bytes(bases.size() * sizeof(WireBase));
  std::byte* at = bytes.data();
  for (const auto& base : bases) {
    const WireBase wire{base.flow, base.seq, base.window_scale, static_cast<std::uint8_t>(base.fin_sent ? 1 : 0), 0};
    std::memcpy(at, &wire, sizeof wire);
    at += sizeof wire;
  }
  return bytes;
}

Result<std::vector<compare::FlowBase>> decode_flow_bases(std::span<const std::byte> bytes) {
  if (bytes.size() % sizeof(WireBase) != 0) {
    return fail("the checkpoint's list of flows has " + std::to_string(bytes.size()) +
                " bytes, which is no whole number of flows");
  }
  std::vector<compare::FlowBase> bases;
  bases.reserve(bytes.size() / sizeof(WireBase));
  for (std::size_t at = 0; at < bytes.size(); at += sizeof(WireBase)) {
    WireBase wire;
    std::memcpy(&wire, bytes.data() + at, sizeof wire);
    bases.push_back({wire.flow, wire.seq, wire.window_scale, wire.fin_sent != 0});
  }
  return bases;
}

}  // namespace twinstep::daemon
