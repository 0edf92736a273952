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
#include "bpf/rewrite.h"

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

/*
 * Only a SYN without ACK makes a new connection, so it ends what is known of an old one with the same addresses. Unless
 * the client has not said a word since: then the SYN is a repeated one of the same opening, and a difference that was
 * found meanwhile still holds.
 */
static __always_inline int ts_flow_opens(const struct ts_segment *segment)
{
	struct ts_flow_state *state;

	if (!segment->tcp->syn || segment->tcp->ack)
		return 0;
	state = bpf_map_lookup_elem(&ts_flows, &segment->key);
	if (state && (state->seen & (TS_SEEN_ACK | TS_SEEN_TSECR)))
		bpf_map_delete_elem(&ts_flows, &segment->key);
	return 1;
}

/*
 * The VM answers a SYN. The secondary notes the number its VM chose; a repeated answer changes nothing, whether the
 * difference was found meanwhile or not. Elsewhere there is nothing to find out, but what was noted of another number,
 * as secondary before a failover, is of a connection that is over.
 */
static __always_inline void ts_flow_answers(const struct ts_segment *segment, const struct ts_slot_config *config)
{
	struct ts_flow_state opening = {.epoch = config->epoch, .seen = TS_SEEN_OPENING};
	struct ts_flow_state *state;

	if (!segment->tcp->syn || !segment->tcp->ack)
		return;
	opening.opening_isn = bpf_ntohl(segment->tcp->seq);
	state = bpf_map_lookup_elem(&ts_flows, &segment->key);
	if (state && state->epoch == opening.epoch && state->opening_isn == opening.opening_isn)
		return;
	if (config->link_open)
		bpf_map_update_elem(&ts_flows, &segment->key, &opening, BPF_ANY);
	else if (state && state->opening_isn)
		bpf_map_delete_elem(&ts_flows, &segment->key);
}

/*
 * The flow's differences, if there are any and they are of this epoch. To the VM, the first acknowledgement of an
 * opening tells them.
 */
static __always_inline struct ts_flow_state *ts_flow_differs(const struct ts_segment *segment,
							     enum ts_direction direction, __u32 epoch)
{
	struct ts_flow_state *state = bpf_map_lookup_elem(&ts_flows, &segment->key);

	if (!state || state->epoch != epoch)
		return 0;
	if (direction == TS_TO_VM && (state->seen & TS_SEEN_OPENING) && segment->tcp->ack) {
		state->seq_delta = state->opening_isn + 1 - bpf_ntohl(segment->tcp->ack_seq);
		state->seen &= ~TS_SEEN_OPENING;
	}
	return state->seq_delta | state->ts_delta | state->ts_offset ? state : 0;
}

#endif
