/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Connections that user space has lent to the programs: the link program enters what the SVM has produced, the tap program
 * lets out what the PVM produces too (bpf/abi/twinstep_match.h).
 */
#ifndef TWINSTEP_MATCH_BPF_H
#define TWINSTEP_MATCH_BPF_H

#include <linux/bpf.h>
#include <linux/tcp.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "bpf/abi/twinstep_match.h"
#include "bpf/abi/twinstep_twins.h"
#include "bpf/digest.h"
#include "bpf/flows.h"
#include "bpf/maps.h"

/* Which of ts_match_flows a lent connection is. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, TS_MATCH_FLOWS_MAX);
	__type(key, struct ts_match_key);
	__type(value, __u32);
} ts_match_index SEC(".maps");

/* Mapped by user space too. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, TS_MATCH_FLOWS_MAX);
	__type(key, __u32);
	__type(value, struct ts_match_flow);
} ts_match_flows SEC(".maps");

/* The pairing's, by slot. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, TS_SLOTS_MAX);
	__type(key, __u32);
	__type(value, struct ts_match_secret);
} ts_match_secrets SEC(".maps");

static __always_inline struct ts_match_flow *ts_match_find(__u32 slot, __u64 flow_id)
{
	struct ts_match_key key = {.flow_id = flow_id, .slot = slot};
	__u32 *index = bpf_map_lookup_elem(&ts_match_index, &key);

	return index ? bpf_map_lookup_elem(&ts_match_flows, index) : 0;
}

#define TS_NO_LANE 0xffffffff

/* What the tap program knows of a frame that may be let out, and learns. */
struct ts_match_try {
	struct ts_match_segment segment; /* only its bytes, if the frame isn't one */
	__u32 slot;
	__u64 acc[TS_DIGEST_LIMBS];
	__u32 epoch;
	__u32 kind;
	__u32 lane;    /* out: see ts_lane(); TS_NO_LANE: nothing is compared here */
	__u32 is_busy; /* out: a frame of the lane is in user space */
	struct ts_twin twin; /* what is looked for, if the frame is compared as a whole */
};

/* For the time of a frame; the stack has no room for it. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct ts_match_try);
} ts_match_tries SEC(".maps");

/*
 * Whether the segment may leave at once. If not, its connection is user space's from here on. Global, so that the verifier
 * looks at it once.
 */
__attribute__((noinline)) int ts_match_try(struct ts_flow_key *key, struct ts_match_try *try)
{
	struct ts_match_secret *secret;
	struct ts_match_flow *flow;
	int leaves;
	__u32 slot;

	if (!key || !try)
		return 0;
	slot = try->slot;
	secret = bpf_map_lookup_elem(&ts_match_secrets, &slot);
	if (!secret)
		return 0;
	flow = ts_match_find(slot, ts_flow_id(&secret->flow_id, key));
	if (!flow || __sync_val_compare_and_swap(&flow->owner, TS_MATCH_KERNEL, TS_MATCH_BUSY) != TS_MATCH_KERNEL)
		return 0;
	leaves = ts_match_output(flow, &secret->append, &try->segment, try->acc);
	__sync_lock_test_and_set(&flow->owner, leaves ? TS_MATCH_KERNEL : TS_MATCH_USER);
	return leaves;
}

/* What the tap program's segment looks like to the rules. */
static __always_inline struct ts_match_segment ts_match_view(const struct ts_segment *segment, __u32 bytes)
{
	const __u8 *header = (const __u8 *)segment->tcp;

	return (struct ts_match_segment){
		.seq = bpf_ntohl(segment->tcp->seq),
		.ack = bpf_ntohl(segment->tcp->ack_seq),
		.window = bpf_ntohs(segment->tcp->window),
		.flags = header[13] | (header[12] & 0xf) << 8,
		.bytes = bytes,
	};
}

#endif
