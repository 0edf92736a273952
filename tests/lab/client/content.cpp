// SPDX-License-Identifier: Apache-2.0
#include "content.hpp"

#include <algorithm>
#include <cstring>
#include <vector>

#include "tests/lab/guest/content.h"

namespace twinstep::lab {
namespace {

const unsigned char* content_block() {
  static const std::vector<unsigned char> kBlock = [] {
    std::vector<unsigned char> block(kContentPeriod);
    content_fill(block.data());
    return block;
  }();
  return kBlock.data();
}

/// Calls visit(expected, position, piece_bytes) for each contiguous piece of the block that the range covers.
template <typename Visit>
void for_each_piece(std::uint64_t seed, std::uint64_t offset, std::size_t bytes, Visit visit) {
  std::size_t position = 0;
  while (position < bytes) {
    const std::uint32_t index = content_index(seed, offset + position);
    const std::size_t piece_bytes = std::min<std::size_t>(bytes - position, kContentPeriod - index);
    visit(content_block() + index, position, piece_bytes);
    position += piece_bytes;
  }
}

}  // namespace

std::uint64_t count_wrong_bytes(std::uint64_t seed, std::uint64_t offset, const unsigned char* data,
                                std::size_t bytes) {
  std::uint64_t wrong = 0;
  for_each_piece(seed, offset, bytes, [&](const unsigned char* expected, std::size_t position, std::size_t piece) {
    const unsigned char* received = data + position;
    if (std::memcmp(expected, received, piece) == 0) return;
    for (std::size_t i = 0; i < piece; ++i) wrong += expected[i] != received[i] ? 1 : 0;
  });
  return wrong;
}

void copy_content(std::uint64_t seed, std::uint64_t offset, unsigned char* data, std::size_t bytes) {
  for_each_piece(seed, offset, bytes, [&](const unsigned char* expected, std::size_t position, std::size_t piece) {
    std::memcpy(data + position, expected, piece);
  });
}

}  // namespace twinstep::lab
