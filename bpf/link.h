/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * On the link: what the other host sends. Only frames of TS_ETHERTYPE are touched; the daemons' own connections share
 * the NIC. A frame for a VM that isn't known here has no slot to be counted in and is dropped.
 */
#ifndef TWINSTEP_LINK_H
#define TWINSTEP_LINK_H

#include "bpf/encap.h"
#include "bpf/flows.h"
#include "bpf/maps.h"
#include "bpf/parse.h"
#include "bpf/probe.h"
#include "bpf/quote.h"
#include "bpf/records.h"
#include "bpf/rewrite.h"

/* TCP options of most segments, where the timestamps need no search: NOP, NOP, timestamps (RFC 7323, appendix A). */
struct ts_aligned_timestamps {
	__u8 nops[2];
	__u8 kind;
	__u8 bytes;
	__u32 tsval_be;
	__u32 tsecr_be;
};

static __always_inline int ts_later(__u32 a, __u32 b)
{
	return (__s32)(a - b) > 0;
}

/* Remembers the latest acknowledgement and TSecr: what the client surely has, if this host takes over. */
static __always_inline void ts_note_client(struct xdp_md *ctx, const struct ts_segment *segment,
					   struct ts_flow_state *state)
{
	struct ts_aligned_timestamps *timestamps = (void *)(segment->tcp + 1);
	__u32 ack = bpf_ntohl(segment->tcp->ack_seq);
	__u32 tsecr;

	if (!(state->seen & TS_SEEN_ACK) || ts_later(ack, state->client_ack))
		state->client_ack = ack;
	state->seen |= TS_SEEN_ACK;
	if (segment->tcp->doff * 4u < sizeof(struct tcphdr) + sizeof(*timestamps) ||
	    (void *)(timestamps + 1) > (void *)(long)ctx->data_end || timestamps->kind != TS_TCPOPT_TIMESTAMPS ||
	    timestamps->bytes != TS_TCPOPT_TIMESTAMPS_BYTES)
		return;
	tsecr = bpf_ntohl(timestamps->tsecr_be);
	if (!(state->seen & TS_SEEN_TSECR) || ts_later(tsecr, state->client_tsecr))
		state->client_tsecr = tsecr;
	state->seen |= TS_SEEN_TSECR;
}

/* The flow's differences, if there are any and they are of this epoch. The client's acknowledgement of an opening tells
 * them. */
static __always_inline struct ts_flow_state *ts_flow_differs(const struct ts_segment *segment,
							     struct ts_flow_state *state, __u32 epoch)
{
	if (state->epoch != epoch)
		return 0;
	if (state->seen & TS_SEEN_OPENING && ts_tells_isn(segment->tcp, state->seen & TS_SEEN_DIALLED)) {
		state->seq_delta = state->opening_isn + 1 - bpf_ntohl(segment->tcp->ack_seq);
		state->seen &= ~TS_SEEN_OPENING;
	}
	return state->seq_delta | state->ts_delta ? state : 0;
}

/* The client opens a connection with data in its SYN. What the table has of an older connection stays: the SVM may refuse. */
static __always_inline void ts_note_fast_open(const struct ts_segment *segment, __u32 epoch)
{
	struct ts_flow_state fresh = {.epoch = epoch, .seen = TS_SEEN_FAST_OPEN};
	struct ts_flow_state *state = ts_flow_find(&segment->key);

	if (!state) {
		ts_flow_put(&ts_half_open, &segment->key, &fresh, BPF_NOEXIST);
		return;
	}
	if (state->epoch != epoch) {
		fresh.client_ack = state->client_ack;
		fresh.client_tsecr = state->client_tsecr;
		fresh.seen |= state->seen & (TS_SEEN_ACK | TS_SEEN_TSECR);
		*state = fresh;
	}
	state->seen |= TS_SEEN_FAST_OPEN;
}

/* Notes what the client has. Returns the flow's differences, if there are any. */
static __always_inline struct ts_flow_state *ts_link_flow(struct xdp_md *ctx, __u32 slot, __u32 epoch,
							  const struct ts_packet *packet)
{
	struct ts_flow_state fresh = {.epoch = epoch};
	struct ts_flow_state *state;
	struct ts_segment segment;

	if (ts_segment(ctx, slot, packet, TS_TO_VM, &segment))
		return 0;
	if (!segment.tcp->ack) {
		if (segment.tcp->syn && packet->payload_bytes)
			ts_note_fast_open(&segment, epoch);
		return 0;
	}
	state = ts_flow_find(&segment.key);
	if (!state) {
		ts_note_client(ctx, &segment, &fresh);
		ts_flow_put(&ts_half_open, &segment.key, &fresh, BPF_NOEXIST);
		return 0;
	}
	ts_note_client(ctx, &segment, state);
	return ts_flow_differs(&segment, state, epoch);
}

/* An ICMP error about a segment in the PVM's numbers. Returns whether it was rewritten. */
static __always_inline int ts_link_quote(struct xdp_md *ctx, __u32 slot, __u32 epoch, const struct ts_packet *packet)
{
	struct ts_flow_state *state;
	struct ts_flow_key key;

	if (ts_quote_key(ctx, slot, packet, &key))
		return 0;
	state = ts_flow_find(&key);
	return state && state->epoch == epoch && state->seq_delta && !ts_rewrite_quote(ctx, packet, state->seq_delta);
}

static __always_inline int ts_link_mirror(struct xdp_md *ctx, __u32 slot, const struct ts_slot_config *config,
					  __u32 frame_epoch)
{
	struct ts_flow_state *differs;
	struct ts_packet packet = {};

	if (!config->link_open || config->flags & TS_SLOT_DEAF || frame_epoch != config->epoch)
		return ts_end(slot, TS_COUNT_LINK_STALE, XDP_DROP);
	if (bpf_xdp_adjust_head(ctx, sizeof(struct ts_link_frame)) || ts_parse(ctx, &packet))
		return ts_end(slot, TS_COUNT_LINK_ERROR, XDP_DROP);
	differs = ts_link_flow(ctx, slot, frame_epoch, &packet);
	if (differs) {
		struct ts_shift shift = {.ack = differs->seq_delta, .tsecr = differs->ts_delta};

		if (ts_rewrite_tcp(ctx, packet.transport_offset, &shift))
			return ts_end(slot, TS_COUNT_LINK_ERROR, XDP_DROP);
		ts_end(slot, TS_COUNT_LINK_REWRITTEN, 0);
	} else if (ts_link_quote(ctx, slot, frame_epoch, &packet)) {
		ts_end(slot, TS_COUNT_LINK_REWRITTEN, 0);
	}
	if (!(config->flags & TS_SLOT_FRAGMENTS))
		return ts_end_redirect(slot, TS_COUNT_LINK_DELIVERED, TS_COUNT_LINK_ERROR,
				       bpf_redirect_map(&ts_taps, slot, XDP_DROP));
	/* The encapsulation still lies in front: it tells user space what this is, and of which epoch. */
	if (bpf_xdp_adjust_head(ctx, -(int)sizeof(struct ts_link_frame)))
		return ts_end(slot, TS_COUNT_LINK_ERROR, XDP_DROP);
	return ts_end_redirect(slot, TS_COUNT_LINK_DELIVERED, TS_COUNT_LINK_ERROR,
			       ts_to_socket(ctx, &ts_xsk_link, slot));
}

static __always_inline int ts_link_delta(struct xdp_md *ctx, __u32 slot, const struct ts_slot_config *config,
					 __u32 epoch)
{
	struct ts_flow_delta *delta = (void *)(long)ctx->data + sizeof(struct ts_link_frame);
	struct ts_flow_state *settled, *state;
	struct ts_flow_state fresh = {};
	struct ts_flow_key key;
	long failed;

	if ((void *)(delta + 1) > (void *)(long)ctx->data_end)
		return ts_end(slot, TS_COUNT_LINK_ERROR, XDP_DROP);
	if (!config->link_open || epoch != config->epoch)
		return ts_end(slot, TS_COUNT_LINK_STALE, XDP_DROP);
	key = delta->key;
	key.slot = slot;
	settled = ts_flow_get(&ts_flows, &key);
	state = settled ? settled : ts_flow_get(&ts_half_open, &key);
	if (state)
		fresh = *state;
	/* Of an older connection on the same ports: overtaken on the link. */
	if (fresh.epoch == epoch && fresh.seen & TS_SEEN_OPENED && fresh.opening_isn != delta->svm_isn)
		return ts_end(slot, TS_COUNT_LINK_STALE, XDP_DROP);
	fresh.epoch = epoch;
	fresh.seq_delta = delta->seq_delta;
	fresh.ts_delta = delta->ts_delta;
	fresh.opening_isn = delta->svm_isn;
	fresh.seen = (fresh.seen & ~TS_SEEN_OPENING) | TS_SEEN_OPENED;
	if (settled)
		failed = ts_flow_put(&ts_flows, &key, &fresh, BPF_ANY);
	else
		failed = ts_flow_put(&ts_half_open, &key, &fresh, BPF_ANY);
	if (failed)
		return ts_end(slot, TS_COUNT_LINK_ERROR, XDP_DROP);
	return ts_end(slot, TS_COUNT_LINK_DELTAS, XDP_DROP);
}

static __always_inline int ts_link_records(struct xdp_md *ctx, __u32 slot, const struct ts_slot_config *config,
					   const struct ts_link_frame *frame)
{
	__u32 epoch = frame->header.epoch;

	if (epoch == config->epoch) {
		/* Records that count by themselves must not count twice. */
		if (!ts_records_fresh(slot, frame->header.sequence))
			return ts_end(slot, TS_COUNT_LINK_STALE, XDP_DROP);
		if (!ts_records(ctx, slot, epoch, frame->header.count))
			return ts_end(slot, TS_COUNT_LINK_MATCHED, XDP_DROP);
	}
	return ts_end_redirect(slot, TS_COUNT_LINK_RECORDS, TS_COUNT_LINK_ERROR,
			       ts_to_socket(ctx, &ts_xsk_link, slot));
}

/* A probe, encapsulated: bare to the tap, or whole to the socket, where the other host's is answered. */
static __always_inline int ts_link_probe(struct xdp_md *ctx, __u32 slot, __u32 path)
{
	if (path != TS_PROBE_TAP)
		return ts_end_redirect(slot, TS_COUNT_PROBES, TS_COUNT_LINK_ERROR,
				       ts_to_socket(ctx, &ts_xsk_link, slot));
	if (bpf_xdp_adjust_head(ctx, sizeof(struct ts_link_frame)))
		return ts_end(slot, TS_COUNT_LINK_ERROR, XDP_DROP);
	return ts_end_redirect(slot, TS_COUNT_PROBES, TS_COUNT_LINK_ERROR, bpf_redirect_map(&ts_taps, slot, XDP_DROP));
}

/* joined: libxdp's dispatcher runs the program. */
static __always_inline int ts_link_any(struct xdp_md *ctx, int joined)
{
	struct ts_link_frame *frame = (void *)(long)ctx->data;
	struct ts_slot_config *config;
	const struct ts_probe *probe;
	struct ts_link_target target;
	__u32 *slot;

	if ((void *)(frame + 1) > (void *)(long)ctx->data_end || frame->eth.h_proto != bpf_htons(TS_ETHERTYPE))
		return XDP_PASS;
	target.vm_id = frame->header.vm_id;
	target.nic = frame->header.nic;
	slot = bpf_map_lookup_elem(&ts_vm_slot, &target);
	config = slot ? ts_slot(*slot) : 0;
	if (!config || (joined && !ts_has_reader(&ts_xsk_link, *slot)))
		return XDP_DROP;
	if (frame->header.abi_version != TS_ABI_VERSION)
		return ts_end(*slot, TS_COUNT_LINK_ERROR, XDP_DROP);
	probe = ts_probe_of(ctx, sizeof(*frame), config);
	if (probe)
		return ts_link_probe(ctx, *slot, probe->path);
	switch (frame->header.type) {
	case TS_LINK_MIRROR:
		return ts_link_mirror(ctx, *slot, config, frame->header.epoch);
	case TS_LINK_RECORDS:
		return ts_link_records(ctx, *slot, config, frame);
	case TS_LINK_FLOW_DELTA:
		return ts_link_delta(ctx, *slot, config, frame->header.epoch);
	default:
		return ts_end(*slot, TS_COUNT_LINK_ERROR, XDP_DROP);
	}
}

SEC("xdp")
int ts_link(struct xdp_md *ctx)
{
	return ts_link_any(ctx, 0);
}

SEC("?xdp")
int ts_link_join(struct xdp_md *ctx)
{
	return ts_link_any(ctx, 1);
}

#endif
