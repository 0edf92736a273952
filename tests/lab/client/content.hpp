// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>

namespace twinstep::lab {

/// Compares received bytes with the content of guest/content.h. `offset` is that of data[0] in the transfer.
/// Returns how many of them are wrong.
std::uint64_t count_wrong_bytes(std::uint64_t seed, std::uint64_t offset, const unsigned char* data, std::size_t bytes);

/// Writes the content at `offset` of the transfer with `seed`.
void copy_content(std::uint64_t seed, std::uint64_t offset, unsigned char* data, std::size_t bytes);

}  // namespace twinstep::lab
