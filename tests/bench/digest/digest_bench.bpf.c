/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* The digest alone, and nothing at all: the difference is what it costs. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#include "bpf/digest.h"

/* Written by user space. */
__u32 payload_offset;
__u32 payload_bytes;
/* Keeps the work from being optimised away, and is compared with user space's digest. */
__u64 result[TS_DIGEST_LIMBS];

SEC("xdp")
int bench_empty(struct xdp_md *ctx)
{
	return XDP_PASS;
}

SEC("xdp")
int bench_digest(struct xdp_md *ctx)
{
	struct ts_digest digest = {};

	if (ts_digest(ctx, 0, payload_offset, payload_bytes, &digest))
		return XDP_ABORTED;
	result[0] = digest.acc[0];
	result[1] = digest.acc[1];
	result[2] = digest.acc[2];
	return XDP_PASS;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
