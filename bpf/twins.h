/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Frames that are compared as a whole: the link program enters the SVM's records, the tap program lets a frame of the PVM
 * out that finds one (bpf/abi/twinstep_twins.h).
 */
#ifndef TWINSTEP_TWINS_BPF_H
#define TWINSTEP_TWINS_BPF_H

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#include "bpf/abi/twinstep_twins.h"
#include "bpf/flows.h"
#include "bpf/maps.h"
#include "bpf/match.h"

struct ts_twins_locked {
	struct bpf_spin_lock lock;
	__u32 reserved;
	struct ts_twins twins;
};

/* By slot and hash. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, TS_SLOTS_MAX *TS_TWINS_PLACES);
	__type(key, __u32);
	__type(value, struct ts_twins_locked);
} ts_twins SEC(".maps");

/* Mapped by user space too, which subtracts. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, TS_SLOTS_MAX *TS_LANES);
	__type(key, __u32);
	__type(value, __u64);
} ts_lanes SEC(".maps");

struct ts_sequence_locked {
	struct bpf_spin_lock lock;
	__u32 pairing;
	struct ts_sequence window;
};

/* Record frames, by slot. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, TS_SLOTS_MAX);
	__type(key, __u32);
	__type(value, struct ts_sequence_locked);
} ts_record_sequences SEC(".maps");

/* What of the maps is of the pairing and the epoch at hand. */
static __always_inline __u32 ts_pairing(const struct ts_match_secret *secret)
{
	return (__u32)secret->flow_id.factor[0][0];
}

/* A digest that nothing was appended to can be reduced by the same table; a weakened key has none. */
static __always_inline struct ts_match_secret *ts_twin_secret(__u32 slot)
{
	struct ts_match_secret *secret = bpf_map_lookup_elem(&ts_match_secrets, &slot);

	return secret && secret->append.reciprocal ? secret : 0;
}

static __always_inline struct ts_twins_locked *ts_twins_of(__u32 slot, const struct ts_twin *twin)
{
	__u32 place = slot % TS_SLOTS_MAX * TS_TWINS_PLACES + ts_twin_hash(twin);

	return bpf_map_lookup_elem(&ts_twins, &place);
}

/* Whether the SVM has produced the frame; its record is taken. Global, so that the verifier looks at it once. */
__attribute__((noinline)) int ts_twin_try(struct ts_flow_key *key, struct ts_match_try *try)
{
	struct ts_match_secret *secret;
	struct ts_twins_locked *at;
	struct ts_residue digest = {};
	struct ts_twin *twin;
	__u64 *waiting;
	__u32 slot, lane;
	int taken;

	if (!key || !try)
		return 0;
	slot = try->slot;
	twin = &try->twin;
	try->lane = TS_NO_LANE;
	secret = ts_twin_secret(slot);
	if (!secret)
		return 0;
	twin->flow_id = ts_flow_id(&secret->flow_id, key);
	lane = ts_lane(slot, twin->flow_id);
	try->lane = lane;
	waiting = bpf_map_lookup_elem(&ts_lanes, &lane);
	try->is_busy = !waiting || *(volatile __u64 *)waiting;
	if (!ts_twin_in_reach(try->segment.bytes))
		return 0;
	ts_append(&secret->append, try->acc, 0, &digest);
	twin->digest_lo = digest.lo;
	twin->digest_hi = (__u8)digest.hi;
	twin->kind = (__u8)try->kind;
	twin->bytes = (__u16)try->segment.bytes;
	twin->balance = 0;
	at = ts_twins_of(slot, twin);
	if (!at)
		return 0;
	bpf_spin_lock(&at->lock);
	taken = ts_twins_frame(&at->twins, ts_pairing(secret) + try->epoch, twin);
	bpf_spin_unlock(&at->lock);
	return taken;
}

/* A frame of the lane goes to user space. */
static __always_inline void ts_lane_enter(__u32 lane)
{
	__u64 *waiting = bpf_map_lookup_elem(&ts_lanes, &lane);

	if (waiting)
		__sync_fetch_and_add(waiting, 1);
}

/* Takes in a record of a whole frame. Returns whether user space must see it. */
static __always_inline int ts_twin_record(__u32 slot, __u32 epoch, struct ts_record *record)
{
	struct ts_match_secret *secret = ts_twin_secret(slot);
	struct ts_twins_locked *at;
	struct ts_twin twin;
	int wanted;

	ts_twin_of_record(&twin, record);
	at = ts_twins_of(slot, &twin);
	if (!secret || !at || !ts_twin_in_reach(twin.bytes))
		return 1;
	bpf_spin_lock(&at->lock);
	wanted = ts_twins_record(&at->twins, ts_pairing(secret) + epoch, &twin);
	bpf_spin_unlock(&at->lock);
	if (!wanted)
		record->type = TS_RECORD_KEPT;
	return wanted;
}

/* Whether a frame of records of this epoch comes for the first time. Where the programs take in none, user space looks. */
static __always_inline int ts_records_fresh(__u32 slot, __u32 sequence)
{
	struct ts_match_secret *secret = ts_twin_secret(slot);
	struct ts_sequence_locked *at = bpf_map_lookup_elem(&ts_record_sequences, &slot);
	__u32 pairing;
	__s64 missing = 0;
	int fresh;

	if (!secret || !at)
		return 1;
	pairing = ts_pairing(secret);
	bpf_spin_lock(&at->lock);
	if (at->pairing != pairing) {
		at->pairing = pairing;
		at->window.seen = 0;
	}
	fresh = ts_sequence_take(&at->window, sequence, &missing);
	bpf_spin_unlock(&at->lock);
	return fresh;
}

#endif
