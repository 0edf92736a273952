// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "bpf/abi/twinstep_abi.h"
#include "packets.hpp"

namespace twinstep::test {

/// A frame of the VM, and all that the parser is to say of it.
struct PacketCase {
  std::string name;
  Bytes frame;
  ts_class expected = TS_CLASS_DATAGRAM;
  std::size_t payload_offset = 0;
  std::size_t payload_bytes = 0;
  unsigned family = 4;
  unsigned protocol = 0;
  std::vector<std::uint16_t> vlans{};
  std::uint16_t fragment = 0;
};

/// Every kind of packet, each with what is nearly it. The same table goes through the XDP programs, through user space
/// and into the fuzzer.
std::vector<PacketCase> packet_table();

}  // namespace twinstep::test
