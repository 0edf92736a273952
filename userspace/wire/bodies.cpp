// SPDX-License-Identifier: Apache-2.0
#include "wire/bodies.hpp"

#include <utility>

#include "wire/bytes.hpp"

namespace twinstep::wire {

std::vector<std::byte> encode(const PrepareBody& body) {
  ByteWriter writer;
  writer.put_string(body.vm_name);
  writer.put(body.vm_id);
  writer.put(body.memory_bytes);
  writer.put(body.definition_hash);
  writer.put(body.digest_seed);
  writer.put(body.link_mac);
  writer.put_string(body.machine_type);
  writer.put(body.page_stream_port);
  writer.put(static_cast<std::uint8_t>(body.nics.size()));
  for (const auto& nic : body.nics) {
    writer.put(nic.mac);
    writer.put(nic.mtu_bytes);
    writer.put(static_cast<std::uint8_t>(nic.guest_offloads));
  }
  return std::move(writer).take();
}

Result<PrepareBody> decode_prepare(std::span<const std::byte> bytes) {
  ByteReader reader(bytes);
  PrepareBody body;
  body.vm_name = reader.get_string();
  body.vm_id = reader.get<std::uint16_t>();
  body.memory_bytes = reader.get<std::uint64_t>();
  body.definition_hash = reader.get<std::uint64_t>();
  body.digest_seed = reader.get_array<16>();
  body.link_mac = reader.get_array<6>();
  body.machine_type = reader.get_string();
  body.page_stream_port = reader.get<std::uint16_t>();
  const std::size_t nics = reader.get<std::uint8_t>();
  if (nics == 0 || nics > kNicsMax) return fail("the peer's `prepare` message is malformed");
  for (std::size_t i = 0; i < nics; ++i) {
    PrepareNic nic;
    nic.mac = reader.get_array<6>();
    nic.mtu_bytes = reader.get<std::uint32_t>();
    nic.guest_offloads = reader.get<std::uint8_t>() != 0;
    body.nics.push_back(nic);
  }
  if (reader.failed() || !reader.at_end()) return fail("the peer's `prepare` message is malformed");
  return body;
}

std::vector<std::byte> encode(const PreparedBody& body) {
  ByteWriter writer;
  writer.put(body.link_mac);
  writer.put(body.page_stream_port);
  return std::move(writer).take();
}

Result<PreparedBody> decode_prepared(std::span<const std::byte> bytes) {
  ByteReader reader(bytes);
  PreparedBody body;
  body.link_mac = reader.get_array<6>();
  body.page_stream_port = reader.get<std::uint16_t>();
  if (reader.failed() || !reader.at_end()) return fail("the peer's `prepared` message is malformed");
  return body;
}

}  // namespace twinstep::wire
