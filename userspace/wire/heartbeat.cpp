// SPDX-License-Identifier: Apache-2.0
#include "wire/heartbeat.hpp"

#include <utility>

#include "wire/bytes.hpp"
#include "wire/header.hpp"

namespace twinstep::wire {

std::vector<std::byte> encode(const Heartbeat& heartbeat) {
  ByteWriter writer;
  writer.put(kHeartbeatMagic);
  writer.put(kWireVersion);
  writer.put(heartbeat.sequence);
  writer.put(static_cast<std::uint64_t>(heartbeat.sent_at_ns));
  writer.put_string(heartbeat.host);
  return std::move(writer).take();
}

Result<Heartbeat> decode_heartbeat(std::span<const std::byte> datagram) {
  ByteReader reader(datagram);
  if (reader.get<std::uint32_t>() != kHeartbeatMagic) return fail("a datagram on the link port is no heartbeat");
  if (const auto version = reader.get<std::uint16_t>(); version != kWireVersion)
    return fail("a heartbeat of wire version " + std::to_string(version) + " arrived, this daemon speaks " +
                std::to_string(kWireVersion) + ": install the same Twinstep version on both hosts");
  Heartbeat heartbeat;
  heartbeat.sequence = reader.get<std::uint64_t>();
  heartbeat.sent_at_ns = static_cast<Nanos>(reader.get<std::uint64_t>());
  heartbeat.host = reader.get_string();
  if (reader.failed() || !reader.at_end()) return fail("a heartbeat of the wrong length arrived");
  return heartbeat;
}

}  // namespace twinstep::wire
