/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* The maps that the programs share with user space, and the look-ups every program starts with. */
#ifndef TWINSTEP_MAPS_H
#define TWINSTEP_MAPS_H

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#include "bpf/abi/twinstep_abi.h"

/* Written before the programs are loaded. 0: a frame is in one piece. 1: one larger than a page is not, and what the programs
 * can read is its front. */
volatile const __u32 ts_fragments;

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, TS_SLOTS_MAX);
	__type(key, __u32);
	__type(value, struct ts_slot_config);
} ts_slots SEC(".maps");

/* Which slot a tap belongs to, by its ifindex. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, TS_SLOTS_MAX);
	__type(key, __u32);
	__type(value, __u32);
} ts_ifindex_slot SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, TS_SLOTS_MAX);
	__type(key, struct ts_mac);
	__type(value, __u32);
} ts_mac_slot SEC(".maps");

/* The number both hosts know a VM by, and its NIC's. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, TS_SLOTS_MAX);
	__type(key, struct ts_link_target);
	__type(value, __u32);
} ts_vm_slot SEC(".maps");

/* Each slot has tables of its own, so that a flood of one VM pushes nothing of another out. User space makes them, as large
 * as the VM's limits say, where the VM is a standby. Elsewhere there are none. */
struct ts_flow_table {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 256);
	__uint(key_size, sizeof(struct ts_flow_key));
	__uint(value_size, sizeof(struct ts_flow_state));
};

/* ts_half_open: of flows of which the VM said no more than SYN-ACK or RST, or nothing at all. Anybody outside can make as
 * many of these as he likes, and must not push connections out. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, TS_SLOTS_MAX);
	__type(key, __u32);
	__array(values, struct ts_flow_table);
} ts_flows SEC(".maps"), ts_half_open SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, TS_TRANSLATIONS_MAX);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct ts_flow_key);
	__type(value, struct ts_translation);
} ts_translations SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, TS_SLOTS_MAX);
	__type(key, __u32);
	__type(value, struct ts_counters);
} ts_count SEC(".maps");

/* Redirect targets, by slot. */
struct {
	__uint(type, BPF_MAP_TYPE_DEVMAP);
	__uint(max_entries, TS_SLOTS_MAX);
	__type(key, __u32);
	__type(value, struct bpf_devmap_val);
} ts_taps SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_DEVMAP);
	__uint(max_entries, TS_SLOTS_MAX);
	__type(key, __u32);
	__type(value, struct bpf_devmap_val);
} ts_uplinks SEC(".maps");

/* A broadcast redirect goes to every entry of one map, so each slot has its own map: its tap and the link. */
#define TS_MIRROR_TAP 0
#define TS_MIRROR_LINK 1
struct ts_mirror_devices {
	__uint(type, BPF_MAP_TYPE_DEVMAP);
	__uint(max_entries, 2);
	__type(key, __u32);
	__type(value, struct bpf_devmap_val);
};
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, TS_SLOTS_MAX);
	__type(key, __u32);
	__array(values, struct ts_mirror_devices);
} ts_mirrors SEC(".maps");

/* Sequence number of the next mirrored frame, by slot. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, TS_SLOTS_MAX);
	__type(key, __u32);
	__type(value, __u32);
} ts_mirror_sequence SEC(".maps");

/* AF_XDP sockets by slot and receive queue, one map per device: a socket only takes frames of the queue it is bound to. */
struct {
	__uint(type, BPF_MAP_TYPE_XSKMAP);
	__uint(max_entries, TS_SLOTS_MAX * TS_QUEUES_MAX);
	__type(key, __u32);
	__type(value, __u32);
} ts_xsk_tap SEC(".maps"), ts_xsk_uplink SEC(".maps"), ts_xsk_link SEC(".maps");

static __always_inline struct ts_slot_config *ts_slot(__u32 slot)
{
	return bpf_map_lookup_elem(&ts_slots, &slot);
}

/* To the slot's socket on the queue that the frame came by. Fails if it has none there. */
static __always_inline long ts_to_socket(const struct xdp_md *ctx, void *sockets, __u32 slot)
{
	__u32 queue = ctx->rx_queue_index;

	return queue < TS_QUEUES_MAX ? bpf_redirect_map(sockets, slot * TS_QUEUES_MAX + queue, XDP_DROP) : XDP_DROP;
}

/*
 * Whether anybody reads what a program behind libxdp's dispatcher takes. Such a program stays there when its daemon is
 * killed, but the kernel takes the daemon's sockets out of the map.
 */
static __always_inline int ts_has_reader(void *sockets, __u32 slot)
{
	__u32 first = slot * TS_QUEUES_MAX;

	return bpf_map_lookup_elem(sockets, &first) != 0;
}

/* Counts the frame and returns what becomes of it. */
static __always_inline int ts_end(__u32 slot, enum ts_counter which, int action)
{
	struct ts_counters *counters = bpf_map_lookup_elem(&ts_count, &slot);

	if (counters)
		counters->count[which]++;
	return action;
}

/* The same for a redirect, which fails at once when the map has no entry. */
static __always_inline int ts_end_redirect(__u32 slot, enum ts_counter done, enum ts_counter failed, long action)
{
	return ts_end(slot, action == XDP_REDIRECT ? done : failed, (int)action);
}

#endif
