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

/* What the secondary knows of a flow. */
static __always_inline struct ts_flow_state *ts_flow_find(const struct ts_flow_key *key)
{
	struct ts_flow_state *state = bpf_map_lookup_elem(&ts_flows, key);

	return state ? state : bpf_map_lookup_elem(&ts_half_open, key);
}

/* A VM that says more than SYN-ACK or RST has a connection there: what is known of it stays. */
static __always_inline void ts_flow_settles(const struct ts_segment *segment, const struct ts_slot_config *config)
{
	struct ts_flow_state *state, settled;

	if (!config->link_open || segment->tcp->syn || segment->tcp->rst)
		return;
	state = bpf_map_lookup_elem(&ts_half_open, &segment->key);
	if (!state)
		return;
	settled = *state;
	if (!bpf_map_update_elem(&ts_flows, &segment->key, &settled, BPF_ANY))
		bpf_map_delete_elem(&ts_half_open, &segment->key);
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
	settled = bpf_map_lookup_elem(&ts_flows, &segment->key);
	state = settled ? settled : bpf_map_lookup_elem(&ts_half_open, &segment->key);
	if (state && state->epoch == opening.epoch && state->seen & TS_SEEN_OPENED &&
	    state->opening_isn == opening.opening_isn)
		return;
	if (packet->payload_bytes || (state && state->epoch == opening.epoch && state->seen & TS_SEEN_FAST_OPEN))
		opening.seen &= ~TS_SEEN_OPENING;
	/* A connection that the VM itself wants is no stranger's doing. */
	if (settled || !segment->tcp->ack)
		bpf_map_update_elem(&ts_flows, &segment->key, &opening, BPF_ANY);
	else
		bpf_map_update_elem(&ts_half_open, &segment->key, &opening, BPF_ANY);
}

/* Whether a segment of the client acknowledges the VM's initial number and nothing else: after a SYN-ACK the first ACK does
 * (a SYN's own doesn't count), after a SYN the SYN-ACK, or the RST that refuses. */
static __always_inline int ts_tells_isn(const struct tcphdr *tcp, __u32 dialled)
{
	return tcp->ack && (dialled ? tcp->syn || tcp->rst : !tcp->syn);
}

#endif
