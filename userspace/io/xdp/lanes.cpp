// SPDX-License-Identifier: Apache-2.0
#include "io/xdp/lanes.hpp"

#include <sys/mman.h>

#include "bpf/abi/twinstep_twins.h"
#include "io/os_error.hpp"

namespace twinstep::io {
namespace {

constexpr std::size_t kBytes = sizeof(std::uint64_t) * TS_SLOTS_MAX * TS_LANES;  // whole pages

}  // namespace

Result<std::unique_ptr<Lanes>> Lanes::open(int map) {
  void* counts = ::mmap(nullptr, kBytes, PROT_READ | PROT_WRITE, MAP_SHARED, map, 0);
  if (counts == MAP_FAILED) return fail_os("cannot map the counts of frames that are compared as a whole");
  return std::unique_ptr<Lanes>(new Lanes(static_cast<std::uint64_t*>(counts)));
}

Lanes::~Lanes() {
  ::munmap(counts_, kBytes);
}

void Lanes::leave(std::uint32_t lane) {
  // A frame that clear() has forgotten, or that came by another way, was not counted.
  std::uint64_t count = __atomic_load_n(&counts_[lane], __ATOMIC_RELAXED);
  while (count > 0 &&
         !__atomic_compare_exchange_n(&counts_[lane], &count, count - 1, true, __ATOMIC_RELEASE, __ATOMIC_RELAXED)) {
  }
}

void Lanes::clear(std::uint32_t slot) {
  for (std::uint32_t lane = 0; lane < TS_LANES; ++lane)
    __atomic_store_n(&counts_[ts_lane(slot, lane)], std::uint64_t{0}, __ATOMIC_RELEASE);
}

}  // namespace twinstep::io
