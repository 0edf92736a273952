/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * KR69 over the compared bytes: sum of w_j * (256^(4j) mod p) over little-endian 32-bit words w_j, one accumulator per
 * 23-bit limb of the table's entries. 512 products of 55 bits fit an accumulator, so nothing carries.
 */
#ifndef TWINSTEP_DIGEST_H
#define TWINSTEP_DIGEST_H

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#include "bpf/abi/twinstep_abi.h"

#define TS_BLOCK_BYTES 64
#define TS_BLOCK_WORDS (TS_BLOCK_BYTES / 4)
#define TS_BLOCKS_MAX (TS_DIGEST_BYTES_MAX / TS_BLOCK_BYTES)

/* By slot, as each pairing has its own. In a map, which the verifier knows nothing of: it would fold a frozen section's
 * values into constants, and no two rounds of the loop would look alike to it. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, TS_SLOTS_MAX);
	__type(key, __u32);
	__type(value, struct ts_digest_key);
} ts_digest_keys SEC(".maps");

/* Where the digest's bytes lie. In a map, because the verifier knows nothing of a value it reads from there: after the
 * loop it would otherwise follow the tail once for each number of rounds. */
struct ts_digest_range {
	__u32 offset;
	__u32 bytes;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct ts_digest_range);
} ts_digest_ranges SEC(".maps");

struct ts_digest {
	__u64 acc[TS_DIGEST_LIMBS];
};

/* The barrier keeps clang from gathering the products of a block, which runs out of registers and spills. */
#define TS_DIGEST_STEP(word, index)                                                                                    \
	do {                                                                                                           \
		__u64 word_ = (word);                                                                                  \
		asm volatile("" : "+r"(acc0), "+r"(acc1), "+r"(acc2));                                                 \
		acc0 += word_ * key->table[0][index];                                                         \
		acc1 += word_ * key->table[1][index];                                                         \
		acc2 += word_ * key->table[2][index];                                                         \
	} while (0)

#define TS_WORD_AT(pointer, offset) (*(const __u32 *)((const __u8 *)(pointer) + (offset)))

/* Digests `size` bytes, a power of two from 4 to 32, if that bit of the rest's length is set. */
#define TS_DIGEST_PART(size)                                                                                           \
	do {                                                                                                           \
		if (bytes & (size)) {                                                                                  \
			if (at + (size) > end)                                                                         \
				return -1;                                                                             \
			_Pragma("unroll") for (int word = 0; word < (size) / 4; word++)                                \
				TS_DIGEST_STEP(TS_WORD_AT(at, 4 * word), index + word);                                \
			at += (size);                                                                                  \
			index += (size) / 4;                                                                           \
		}                                                                                                      \
	} while (0)

/* bytes: at most TS_DIGEST_BYTES_MAX; offset: at most 255. Returns -1 if the frame ends earlier. */
static __always_inline int ts_digest(struct xdp_md *ctx, __u32 slot, __u32 offset, __u32 bytes,
				     struct ts_digest *digest)
{
	void *data = (void *)(long)ctx->data;
	void *end = (void *)(long)ctx->data_end;
	__u64 acc0 = 0, acc1 = 0, acc2 = 0, last = 0;
	__u32 zero = 0, index;
	struct ts_digest_range *range = bpf_map_lookup_elem(&ts_digest_ranges, &zero);
	const struct ts_digest_key *key = bpf_map_lookup_elem(&ts_digest_keys, &slot);
	void *at;

	if (!range || !key)
		return -1;
	range->offset = offset;
	range->bytes = bytes;

	at = data + (offset & 0xff);
	for (__u32 block = 0; block < TS_BLOCKS_MAX; block++) {
		if (bytes < TS_BLOCK_BYTES)
			break;
		if (at + TS_BLOCK_BYTES > end)
			return -1;
#pragma unroll
		for (int word = 0; word < TS_BLOCK_WORDS; word++)
			TS_DIGEST_STEP(TS_WORD_AT(at, 4 * word), block * TS_BLOCK_WORDS + word);
		at += TS_BLOCK_BYTES;
		bytes -= TS_BLOCK_BYTES;
	}

	bytes = *(volatile __u32 *)&range->bytes & (2 * TS_DIGEST_BYTES_MAX - 1);
	at = data + (*(volatile __u32 *)&range->offset & 0xff) + (bytes & ~(TS_BLOCK_BYTES - 1u));
	index = (bytes / 4) & (TS_DIGEST_WORDS - TS_BLOCK_WORDS);
	TS_DIGEST_PART(32);
	TS_DIGEST_PART(16);
	TS_DIGEST_PART(8);
	TS_DIGEST_PART(4);
	if (bytes & 2) {
		if (at + 2 > end)
			return -1;
		last = *(const __u16 *)at;
		at += 2;
	}
	if (bytes & 1) {
		if (at + 1 > end)
			return -1;
		last |= (__u64) * (const __u8 *)at << (bytes & 2 ? 16 : 0);
	}
	TS_DIGEST_STEP(last, index);

	digest->acc[0] = acc0;
	digest->acc[1] = acc1;
	digest->acc[2] = acc2;
	return 0;
}

#endif
