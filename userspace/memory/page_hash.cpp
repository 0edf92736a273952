// SPDX-License-Identifier: Apache-2.0
#include "memory/page_hash.hpp"

#include <xxh_x86dispatch.h>

namespace twinstep::memory {

PageHash hash_page(std::span<const std::byte> page, PageHashKey key) {
  const XXH128_hash_t hash = XXH3_128bits_withSeed(page.data(), page.size(), key);
  return {hash.low64, hash.high64};
}

}  // namespace twinstep::memory
