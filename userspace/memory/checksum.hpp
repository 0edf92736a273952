// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <xxh_x86dispatch.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

namespace twinstep::memory {

/// XXH3-64 over pieces, as if they lay one after the other.
class Checksum {
 public:
  Checksum() : state_(XXH3_createState()) { reset(); }

  void reset() { XXH3_64bits_reset(state_.get()); }
  void add(std::span<const std::byte> bytes) { XXH3_64bits_update(state_.get(), bytes.data(), bytes.size()); }
  std::uint64_t value() const { return XXH3_64bits_digest(state_.get()); }

 private:
  struct Free {
    void operator()(XXH3_state_t* state) const { XXH3_freeState(state); }
  };
  std::unique_ptr<XXH3_state_t, Free> state_;
};

}  // namespace twinstep::memory
