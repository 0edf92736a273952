// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace twinstep::bench {

enum class Protocol : std::uint8_t { tcp, udp };

struct Traffic {
  Protocol protocol = Protocol::tcp;
  std::size_t payload_bytes = 64;
  std::size_t flows = 1;
};

/// Makes one VM's packets: packet n belongs to flow n mod flows, and its payload begins with a bench_tag. Twins are
/// equal but for the TCP numbers, which begin at `first_seq`. Checksums are right.
class FrameMaker {
 public:
  FrameMaker(const Traffic& traffic, std::uint32_t first_seq);

  /// The flow's SYN with ACK; TCP only. Valid until the next call.
  std::span<const std::byte> syn(std::size_t flow);
  /// The packet of this number. pvm_first: what its tag says.
  std::span<const std::byte> packet(std::uint32_t number, bool pvm_first);

  /// Where the payload begins, from the start of the frame.
  static std::size_t payload_offset(Protocol protocol);

 private:
  Traffic traffic_;
  std::vector<std::byte> frame_;
  std::vector<std::byte> syn_;
  std::vector<std::uint32_t> next_seq_;  // by flow
  std::uint32_t filler_sum_ = 0;         // ones' complement sum of the payload behind the tag
};

}  // namespace twinstep::bench
