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
#include "bpf/parse.h"
#include "bpf/translate.h"

/* Puts the metadata in front of the frame. The digest is computed first: adjusting makes all packet pointers stale. */
static __always_inline int ts_prefix_meta(struct xdp_md *ctx, __u32 slot, const struct ts_packet *packet, __u32 epoch)
{
	struct ts_digest digest = {};
	struct ts_frame_meta *meta;
	__u32 flags = 0;

	if (packet->payload_bytes > TS_DIGEST_BYTES_MAX)
		flags = TS_META_DIGEST_PARTIAL;
	else if (ts_digest(ctx, slot, packet->payload_offset, packet->payload_bytes, &digest))
		return -1;
	if (bpf_xdp_adjust_meta(ctx, -(int)sizeof(*meta)))
		return -1;
	meta = (void *)(long)ctx->data_meta;
	if ((void *)(meta + 1) > (void *)(long)ctx->data)
		return -1;
	meta->acc[0] = digest.acc[0];
	meta->acc[1] = digest.acc[1];
	meta->acc[2] = digest.acc[2];
	meta->epoch = epoch;
	meta->payload_bytes = packet->payload_bytes;
	meta->payload_offset = packet->payload_offset;
	meta->class_flags = packet->kind | flags << 4;
	return 0;
}

static __always_inline int ts_tap_hold(struct xdp_md *ctx, __u32 slot, __u32 epoch, const struct ts_packet *packet)
{
	if (ts_prefix_meta(ctx, slot, packet, epoch))
		return ts_end(slot, TS_COUNT_TAP_ERROR, XDP_DROP);
	return ts_end_redirect(slot, TS_COUNT_TAP_HELD, TS_COUNT_TAP_ERROR,
			       bpf_redirect_map(&ts_xsk_tap, slot, XDP_DROP));
}

/* Whether another VM of this host may be meant. A switch doesn't send a frame back to where it came from, so these can't
 * just go to the uplink. */
static __always_inline int ts_tap_local(struct xdp_md *ctx, const struct ts_slot_config *config)
{
	struct ethhdr *eth = (void *)(long)ctx->data;
	struct ts_mac mac;

	if (!(config->flags & TS_SLOT_SHARED) || (void *)(eth + 1) > (void *)(long)ctx->data_end)
		return 0;
	__builtin_memcpy(mac.bytes, eth->h_dest, sizeof(mac.bytes));
	return ts_is_group(eth->h_dest) || bpf_map_lookup_elem(&ts_mac_slot, &mac);
}

static __always_inline int ts_tap_direct(struct xdp_md *ctx, __u32 slot, const struct ts_slot_config *config,
					 const struct ts_packet *packet, const struct ts_translation *translation)
{
	/* As if held: user space translates it. */
	if (ts_tap_local(ctx, config)) {
		if (ts_prefix_meta(ctx, slot, packet, config->epoch))
			return ts_end(slot, TS_COUNT_TAP_ERROR, XDP_DROP);
		return ts_end_redirect(slot, TS_COUNT_TAP_LOCAL, TS_COUNT_TAP_ERROR,
				       bpf_redirect_map(&ts_xsk_tap, slot, XDP_DROP));
	}
	if (ts_translate_out(ctx, packet, translation))
		return ts_end(slot, TS_COUNT_TAP_ERROR, XDP_DROP);
	return ts_end_redirect(slot, TS_COUNT_TAP_DIRECT, TS_COUNT_TAP_ERROR,
			       bpf_redirect_map(&ts_uplinks, slot, XDP_DROP));
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

	/* A tap that no slot knows has nobody to speak for it. */
	if (!config)
		return XDP_DROP;
	if (config->tap_mode == TS_TAP_CLOSED)
		return ts_end(*slot, TS_COUNT_TAP_CLOSED, XDP_DROP);
	if (ts_parse(ctx, &packet))
		return ts_end(*slot, TS_COUNT_TAP_ERROR, XDP_DROP);
	if (!ts_segment(ctx, *slot, &packet, TS_FROM_VM, &segment)) {
		ts_flow_opens(&segment, &packet, config);
		ts_flow_settles(&segment, config);
		translation = ts_translation_out(&segment, config);
	}
	if (config->tap_mode == TS_TAP_HOLD)
		return ts_tap_hold(ctx, *slot, config->epoch, &packet);
	return ts_tap_direct(ctx, *slot, config, &packet, translation);
}

#endif
