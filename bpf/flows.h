/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* The TCP connections whose numbers differ between the two VMs, or did when one of them took over. */
#ifndef TWINSTEP_FLOWS_H
#define TWINSTEP_FLOWS_H

#include <linux/bpf.h>
#include <linux/tcp.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "bpf/maps.h"
#include "bpf/parse.h"

enum ts_direction {
	TS_FROM_VM,
	TS_TO_VM,
};

/* A segment's flow and its header. */
struct ts_segment {
	struct ts_flow_key key;
	struct tcphdr *tcp;
};

/* Returns -1 unless packet is a TCP segment. */
static __always_inline int ts_segment(struct xdp_md *ctx, __u32 slot, const struct ts_packet *packet,
				      enum ts_direction direction, struct ts_segment *segment)
{
	void *data = (void *)(long)ctx->data;
	void *end = (void *)(long)ctx->data_end;
	struct tcphdr *tcp = data + (packet->transport_offset & 0xff);

	if (packet->kind != TS_CLASS_TCP || (void *)(tcp + 1) > end ||
	    ts_packet_key(data, end, packet, direction == TS_FROM_VM, &segment->key))
		return -1;
	segment->key.slot = slot;
	segment->tcp = tcp;
	return 0;
}

/* tables: ts_flows or ts_half_open. */
static __always_inline struct ts_flow_state *ts_flow_get(void *tables, const struct ts_flow_key *key)
{
	__u32 slot = key->slot;
	void *table = bpf_map_lookup_elem(tables, &slot);

	return table ? bpf_map_lookup_elem(table, key) : 0;
}

static __always_inline long ts_flow_put(void *tables, const struct ts_flow_key *key, const struct ts_flow_state *state,
					__u64 flags)
{
	__u32 slot = key->slot;
	void *table = bpf_map_lookup_elem(tables, &slot);

	return table ? bpf_map_update_elem(table, key, state, flags) : -1;
}

static __always_inline void ts_flow_drop(void *tables, const struct ts_flow_key *key)
{
	__u32 slot = key->slot;
	void *table = bpf_map_lookup_elem(tables, &slot);

	if (table)
		bpf_map_delete_elem(table, key);
}

/* What the secondary knows of a flow. */
static __always_inline struct ts_flow_state *ts_flow_find(const struct ts_flow_key *key)
{
	struct ts_flow_state *state = ts_flow_get(&ts_flows, key);

	return state ? state : ts_flow_get(&ts_half_open, key);
}

/* A VM that says more than SYN-ACK or RST has a connection there: what is known of it stays. */
static __always_inline void ts_flow_settles(const struct ts_segment *segment, const struct ts_slot_config *config)
{
	struct ts_flow_state *state, settled;

	if (!config->link_open || segment->tcp->syn || segment->tcp->rst)
		return;
	state = ts_flow_get(&ts_half_open, &segment->key);
	if (!state)
		return;
	settled = *state;
	if (!ts_flow_put(&ts_flows, &segment->key, &settled, BPF_ANY))
		ts_flow_drop(&ts_half_open, &segment->key);
}

/* The VM opens a connection, by SYN or SYN-ACK: the secondary notes the number its VM chose. A repetition changes nothing,
 * whether the difference was found meanwhile or not. Elsewhere there is nothing to find out. */
static __always_inline void ts_flow_opens(const struct ts_segment *segment, const struct ts_packet *packet,
					  const struct ts_slot_config *config)
{
	struct ts_flow_state opening = {.epoch = config->epoch, .seen = TS_SEEN_OPENED | TS_SEEN_OPENING};
	struct ts_flow_state *settled, *state;

	if (!segment->tcp->syn || !config->link_open)
		return;
	opening.opening_isn = bpf_ntohl(segment->tcp->seq);
	if (!segment->tcp->ack)
		opening.seen |= TS_SEEN_DIALLED;
	settled = ts_flow_get(&ts_flows, &segment->key);
	state = settled ? settled : ts_flow_get(&ts_half_open, &segment->key);
	if (state && state->epoch == opening.epoch && state->seen & TS_SEEN_OPENED &&
	    state->opening_isn == opening.opening_isn)
		return;
	if (packet->payload_bytes || (state && state->epoch == opening.epoch && state->seen & TS_SEEN_FAST_OPEN))
		opening.seen &= ~TS_SEEN_OPENING;
	/* A connection that the VM itself wants is no stranger's doing. */
	if (settled || !segment->tcp->ack)
		ts_flow_put(&ts_flows, &segment->key, &opening, BPF_ANY);
	else
		ts_flow_put(&ts_half_open, &segment->key, &opening, BPF_ANY);
}

/* Whether a segment of the client acknowledges the VM's initial number and nothing else: after a SYN-ACK the first ACK does
 * (a SYN's own doesn't count), after a SYN the SYN-ACK, or the RST that refuses. */
static __always_inline int ts_tells_isn(const struct tcphdr *tcp, __u32 dialled)
{
	return tcp->ack && (dialled ? tcp->syn || tcp->rst : !tcp->syn);
}

#endif
