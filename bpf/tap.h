/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* On the VM's tap: what the guest sends. */
#ifndef TWINSTEP_TAP_H
#define TWINSTEP_TAP_H

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "bpf/digest.h"
#include "bpf/flows.h"
#include "bpf/maps.h"
#include "bpf/match.h"
#include "bpf/parse.h"
#include "bpf/probe.h"
#include "bpf/translate.h"
#include "bpf/twins.h"

/* Whether the program reaches the compared bytes. */
static __always_inline int ts_digest_reaches(struct xdp_md *ctx, const struct ts_packet *packet)
{
	long front = (long)ctx->data_end - (long)ctx->data;

	if (packet->payload_bytes > TS_DIGEST_BYTES_MAX)
		return 0;
	return !ts_fragments || packet->payload_offset + packet->payload_bytes <= front;
}

/* The digest of the compared bytes; nothing of more than the program reaches. */
static __always_inline int ts_digest_packet(struct xdp_md *ctx, __u32 slot, const struct ts_packet *packet, __u64 *acc)
{
	if (!ts_digest_reaches(ctx, packet))
		return 0;
	return ts_digest(ctx, slot, packet->payload_offset, packet->payload_bytes, (struct ts_digest *)acc);
}

/*
 * Puts the metadata in front of the frame, as its first bytes: there is no other room for them at a tap before Linux 6.15,
 * where bpf_xdp_adjust_meta() fails. Makes all packet pointers stale.
 */
static __always_inline int ts_prefix_meta(struct xdp_md *ctx, const struct ts_packet *packet, __u32 epoch,
					  const __u64 *acc, __u32 flags)
{
	struct ts_frame_meta *meta;

	if (!ts_digest_reaches(ctx, packet))
		flags |= TS_META_DIGEST_PARTIAL;
	if (bpf_xdp_adjust_head(ctx, -(int)sizeof(*meta)))
		return -1;
	meta = (void *)(long)ctx->data;
	if ((void *)(meta + 1) > (void *)(long)ctx->data_end)
		return -1;
	meta->acc[0] = acc[0];
	meta->acc[1] = acc[1];
	meta->acc[2] = acc[2];
	meta->epoch = epoch;
	meta->payload_bytes = packet->payload_bytes;
	meta->payload_offset = packet->payload_offset;
	meta->class_flags = packet->kind | flags << 4;
	return 0;
}

/*
 * Whether the frame is user space's to send: there may be others in fragments, or another VM of this host may be meant. A
 * switch doesn't send a frame back to where it came from, so these can't just go to the uplink.
 */
static __always_inline int ts_tap_local(struct xdp_md *ctx, const struct ts_slot_config *config)
{
	struct ethhdr *eth = (void *)(long)ctx->data;
	struct ts_mac mac;

	if (config->flags & TS_SLOT_FRAGMENTS)
		return 1;
	if (!(config->flags & TS_SLOT_SHARED) || (void *)(eth + 1) > (void *)(long)ctx->data_end)
		return 0;
	__builtin_memcpy(mac.bytes, eth->h_dest, sizeof(mac.bytes));
	return ts_is_group(eth->h_dest) || bpf_map_lookup_elem(&ts_mac_slot, &mac);
}

/* A frame that user space decides on. flags: TS_META_* */
static __always_inline int ts_tap_user(struct xdp_md *ctx, __u32 slot, const struct ts_slot_config *config,
				       const struct ts_packet *packet, const __u64 *acc, __u32 flags)
{
	if (ts_prefix_meta(ctx, packet, config->epoch, acc, flags))
		return ts_end(slot, TS_COUNT_TAP_ERROR, XDP_DROP);
	return ts_end_redirect(slot, TS_COUNT_TAP_HELD, TS_COUNT_TAP_ERROR,
			       ts_to_socket(ctx, &ts_xsk_tap, slot));
}

/* A frame of the PVM that is compared as a whole. */
static __always_inline int ts_tap_whole(struct xdp_md *ctx, __u32 slot, const struct ts_slot_config *config,
					const struct ts_packet *packet, struct ts_flow_key *key,
					struct ts_match_try *try)
{
	int has_twin, action;

	if (ts_packet_key((void *)(long)ctx->data, (void *)(long)ctx->data_end, packet, 1, key))
		return ts_end(slot, TS_COUNT_TAP_ERROR, XDP_DROP);
	has_twin = ts_twin_try(key, try);
	if (has_twin && !try->is_busy && config->flags & TS_SLOT_COMMITTED && !ts_tap_local(ctx, config))
		return ts_end_redirect(slot, TS_COUNT_TAP_TWIN, TS_COUNT_TAP_ERROR,
				       bpf_redirect_map(&ts_uplinks, slot, XDP_DROP));
	action = ts_tap_user(ctx, slot, config, packet, try->acc, has_twin ? TS_META_TWIN : 0);
	if (action == XDP_REDIRECT)
		ts_lane_enter(try->lane);
	return action;
}

/* segment: of a frame that isn't one, there is only room for its key. */
static __always_inline int ts_tap_hold(struct xdp_md *ctx, __u32 slot, const struct ts_slot_config *config,
				       const struct ts_packet *packet, struct ts_segment *segment, int is_segment,
				       const struct ts_translation *translation)
{
	__u32 zero = 0;
	struct ts_match_try *try = bpf_map_lookup_elem(&ts_match_tries, &zero);

	if (!try)
		return ts_end(slot, TS_COUNT_TAP_ERROR, XDP_DROP);
	try->slot = slot;
	try->epoch = config->epoch;
	try->kind = packet->kind;
	try->acc[0] = try->acc[1] = try->acc[2] = 0;
	if (is_segment)
		try->segment = ts_match_view(segment, packet->payload_bytes);
	else
		try->segment.bytes = packet->payload_bytes;
	if (ts_digest_packet(ctx, slot, packet, try->acc))
		return ts_end(slot, TS_COUNT_TAP_ERROR, XDP_DROP);
	if (config->link_open || packet->kind == TS_CLASS_SOFT)
		return ts_tap_user(ctx, slot, config, packet, try->acc, 0);
	if (!is_segment)
		return ts_tap_whole(ctx, slot, config, packet, &segment->key, try);
	if (!ts_tap_local(ctx, config) && ts_match_try(&segment->key, try)) {
		if (ts_translate_out(ctx, packet, translation))
			return ts_end(slot, TS_COUNT_TAP_ERROR, XDP_DROP);
		return ts_end_redirect(slot, TS_COUNT_TAP_MATCHED, TS_COUNT_TAP_ERROR,
				       bpf_redirect_map(&ts_uplinks, slot, XDP_DROP));
	}
	return ts_tap_user(ctx, slot, config, packet, try->acc, 0);
}

static __always_inline int ts_tap_direct(struct xdp_md *ctx, __u32 slot, const struct ts_slot_config *config,
					 const struct ts_packet *packet, const struct ts_translation *translation)
{
	__u64 acc[TS_DIGEST_LIMBS] = {};

	/* As if held: user space translates it. */
	if (ts_tap_local(ctx, config)) {
		if (ts_digest_packet(ctx, slot, packet, acc) || ts_prefix_meta(ctx, packet, config->epoch, acc, 0))
			return ts_end(slot, TS_COUNT_TAP_ERROR, XDP_DROP);
		return ts_end_redirect(slot, TS_COUNT_TAP_LOCAL, TS_COUNT_TAP_ERROR,
				       ts_to_socket(ctx, &ts_xsk_tap, slot));
	}
	if (ts_translate_out(ctx, packet, translation))
		return ts_end(slot, TS_COUNT_TAP_ERROR, XDP_DROP);
	return ts_end_redirect(slot, TS_COUNT_TAP_DIRECT, TS_COUNT_TAP_ERROR,
			       bpf_redirect_map(&ts_uplinks, slot, XDP_DROP));
}

static __always_inline int ts_tap_probe(struct xdp_md *ctx, __u32 slot, const struct ts_slot_config *config,
					__u32 path)
{
	const struct ts_packet nothing = {};
	const __u64 acc[TS_DIGEST_LIMBS] = {};

	if (path == TS_PROBE_UPLINK)
		return ts_end_redirect(slot, TS_COUNT_PROBES, TS_COUNT_TAP_ERROR,
				       bpf_redirect_map(&ts_uplinks, slot, XDP_DROP));
	/* As if held: the proof is to show that the device takes the metadata. */
	if (ts_prefix_meta(ctx, &nothing, config->epoch, acc, 0))
		return ts_end(slot, TS_COUNT_TAP_ERROR, XDP_DROP);
	return ts_end_redirect(slot, TS_COUNT_PROBES, TS_COUNT_TAP_ERROR, ts_to_socket(ctx, &ts_xsk_tap, slot));
}

SEC("xdp")
int ts_tap(struct xdp_md *ctx)
{
	__u32 ifindex = ctx->ingress_ifindex;
	__u32 *slot = bpf_map_lookup_elem(&ts_ifindex_slot, &ifindex);
	struct ts_slot_config *config = slot ? ts_slot(*slot) : 0;
	struct ts_translation *translation = 0;
	struct ts_segment segment;
	struct ts_packet packet = {};
	int is_segment;
	const struct ts_probe *probe;

	/* A tap that no slot knows has nobody to speak for it. */
	if (!config)
		return XDP_DROP;
	probe = ts_probe_of(ctx, 0, config);
	if (probe)
		return ts_tap_probe(ctx, *slot, config, probe->path);
	if (config->tap_mode == TS_TAP_CLOSED)
		return ts_end(*slot, TS_COUNT_TAP_CLOSED, XDP_DROP);
	if (ts_parse(ctx, &packet))
		return ts_end(*slot, TS_COUNT_TAP_ERROR, XDP_DROP);
	is_segment = !ts_segment(ctx, *slot, &packet, TS_FROM_VM, &segment);
	if (is_segment) {
		ts_flow_opens(&segment, &packet, config);
		ts_flow_settles(&segment, config);
		translation = ts_translation_out(&segment, config);
	}
	if (config->tap_mode == TS_TAP_HOLD)
		return ts_tap_hold(ctx, *slot, config, &packet, &segment, is_segment, translation);
	return ts_tap_direct(ctx, *slot, config, &packet, translation);
}

#endif
