/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* The SVM's records, as they come by the link: taken in by the link program, or handed to user space. */
#ifndef TWINSTEP_RECORDS_H
#define TWINSTEP_RECORDS_H

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#include "bpf/encap.h"
#include "bpf/match.h"
#include "bpf/twins.h"

/* Records that one link frame may hold: those of a jumbo frame. */
#define TS_LINK_RECORDS_MAX 256

struct ts_records_walk {
	struct xdp_md *ctx;
	__u32 slot;
	__u32 epoch;
	__u32 wanted; /* user space must see the frame */
};

/* Returns whether user space must see the record. */
static __always_inline int ts_record_take(const struct ts_records_walk *walk, struct ts_record *record)
{
	struct ts_match_flow *flow;

	if (record->type == TS_RECORD_WHOLE)
		return ts_twin_record(walk->slot, walk->epoch, record);
	flow = record->type == TS_RECORD_TCP ? ts_match_find(walk->slot, record->flow_id) : 0;
	return !flow || ts_match_record(flow, record);
}

/* One record. For bpf_loop(): as a plain loop it is too much for the verifier. */
static long ts_records_step(__u32 index, struct ts_records_walk *walk)
{
	void *data = (void *)(long)walk->ctx->data;
	void *end = (void *)(long)walk->ctx->data_end;
	struct ts_record *record;

	if (index >= TS_LINK_RECORDS_MAX)
		return 1;
	record = data + sizeof(struct ts_link_frame) + index * sizeof(*record);
	if ((void *)(record + 1) > end) {
		walk->wanted = 1;
		return 1;
	}
	if (ts_record_take(walk, record))
		walk->wanted = 1;
	return 0;
}

/* Takes in the records of a frame of this epoch. Returns whether user space must see them. */
static __always_inline int ts_records(struct xdp_md *ctx, __u32 slot, __u32 epoch, __u32 count)
{
	struct ts_records_walk walk = {.ctx = ctx, .slot = slot, .epoch = epoch};

	if (count > TS_LINK_RECORDS_MAX)
		return 1;
	bpf_loop(count, ts_records_step, &walk, 0);
	return walk.wanted;
}

#endif
