// SPDX-License-Identifier: Apache-2.0
// The content that the guest serves and the client checks: both compute it, so any byte at any offset can be verified.
//
// One block of kContentPeriod pseudo-random bytes is repeated without end. The period is prime, so no two packets or
// pages of a long transfer hold the same bytes. A seed selects where in the block a transfer starts:
//   byte(seed, offset) = block[(seed * 7919 + offset) mod kContentPeriod]
#ifndef TWINSTEP_TESTS_LAB_GUEST_CONTENT_H
#define TWINSTEP_TESTS_LAB_GUEST_CONTENT_H

#include <stdint.h>

enum { kContentPeriod = 1000003 };

// Fills block[kContentPeriod] from a fixed splitmix64 sequence, low byte first.
static inline void content_fill(unsigned char* block) {
  uint64_t state = 0x7477696e73746570u;
  for (uint32_t i = 0; i < kContentPeriod;) {
    state += 0x9e3779b97f4a7c15u;
    uint64_t word = state;
    word = (word ^ (word >> 30)) * 0xbf58476d1ce4e5b9u;
    word = (word ^ (word >> 27)) * 0x94d049bb133111ebu;
    word ^= word >> 31;
    for (uint32_t shift = 0; shift < 64 && i < kContentPeriod; shift += 8) block[i++] = (word >> shift) & 0xff;
  }
}

// Index into the block of the byte at `offset` of the transfer with `seed`.
static inline uint32_t content_index(uint64_t seed, uint64_t offset) {
  const uint64_t start = (seed % kContentPeriod) * 7919u;
  return ((start + offset % kContentPeriod) % kContentPeriod) & 0xffffffffu;
}

#endif
