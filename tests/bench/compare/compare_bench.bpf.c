/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* The client of the benchmark: counts what comes out, and how long it took. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#include "tests/bench/compare/compare_bench.h"

struct bench_results results;
/* When the later twin of a packet was sent, by its number. */
__u64 sent_ns[BENCH_NUMBERS];
/* Where a packet's number lies, from the start of the frame; set before the program is loaded. */
const volatile __u32 number_offset;

SEC("xdp")
int bench_client(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data;
	struct bench_tag *tag = data + number_offset;
	__u64 bucket;

	if ((void *)(tag + 1) > (void *)(long)ctx->data_end || (tag->magic & ~1u) != BENCH_MAGIC) {
		__sync_fetch_and_add(&results.others, 1);
		return XDP_DROP;
	}
	__sync_fetch_and_add(&results.packets, 1);
	__sync_fetch_and_add(&results.number_sum, tag->number);
	if (!results.timing)
		return XDP_DROP;
	bucket = (bpf_ktime_get_ns() - sent_ns[tag->number % BENCH_NUMBERS]) / BENCH_BUCKET_NS;
	if (bucket >= BENCH_BUCKETS)
		bucket = BENCH_BUCKETS - 1;
	__sync_fetch_and_add(&results.latency[tag->magic & 1][bucket], 1);
	return XDP_DROP;
}

/* What the generators are measured alone with. */
SEC("xdp")
int bench_drop(struct xdp_md *ctx)
{
	return XDP_DROP;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
