// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <vector>

#include "../packet_table.hpp"

namespace twinstep::test {

/// Frames that are nearly those of the packet table. One seed gives one sequence.
class Mutator {
 public:
  explicit Mutator(std::uint64_t seed);

  /// A frame of the table with up to four changes, to the VM or from it; 14 to 3400 bytes.
  const Bytes& next(bool to_vm);
  /// Under `bound`.
  std::uint32_t below(std::size_t bound);

 private:
  void change();
  std::size_t place();
  void insert(std::size_t at, const Bytes& bytes);

  std::vector<Bytes> from_vm_;
  std::vector<Bytes> to_vm_;
  std::uint64_t state_;
  Bytes frame_;
};

/// The frame as its receiver would send it back: MAC and IP addresses and ports change places, checksums stay right.
Bytes turned_round(Bytes frame);

}  // namespace twinstep::test
