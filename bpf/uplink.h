/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * On the uplink: what clients send.
 * A frame to a VM's MAC is the VM's. A group-addressed frame (ARP requests above all) is the VM's too while the VM is
 * served here, that is unless its uplink mode is CLOSED: the uplink is the VMs' NIC first. Everything else is the
 * host's own, passes to its stack untouched, and isn't counted.
 */
#ifndef TWINSTEP_UPLINK_H
#define TWINSTEP_UPLINK_H

#include "bpf/encap.h"
#include "bpf/maps.h"
#include "bpf/parse.h"
#include "bpf/translate.h"

/* The slot that an inbound frame belongs to, or nothing. */
static __always_inline __u32 *ts_inbound_slot(struct xdp_md *ctx)
{
	struct ethhdr *eth = (void *)(long)ctx->data;
	__u32 ifindex = ctx->ingress_ifindex;
	struct ts_mac mac;

	if ((void *)(eth + 1) > (void *)(long)ctx->data_end)
		return 0;
	if (ts_is_group(eth->h_dest))
		return bpf_map_lookup_elem(&ts_uplink_slot, &ifindex);
	__builtin_memcpy(mac.bytes, eth->h_dest, sizeof(mac.bytes));
	return bpf_map_lookup_elem(&ts_mac_slot, &mac);
}

static __always_inline int ts_uplink_closed(struct xdp_md *ctx, __u32 slot)
{
	struct ethhdr *eth = (void *)(long)ctx->data;

	if ((void *)(eth + 1) <= (void *)(long)ctx->data_end && ts_is_group(eth->h_dest))
		return XDP_PASS;
	return ts_end(slot, TS_COUNT_UPLINK_CLOSED, XDP_DROP);
}

static __always_inline int ts_uplink_mirror(__u32 slot)
{
	void *devices = bpf_map_lookup_elem(&ts_mirrors, &slot);

	if (!devices)
		return ts_end(slot, TS_COUNT_UPLINK_ERROR, XDP_DROP);
	return ts_end_redirect(slot, TS_COUNT_UPLINK_MIRRORED, TS_COUNT_UPLINK_ERROR,
			       bpf_redirect_map(devices, 0, BPF_F_BROADCAST | BPF_F_EXCLUDE_INGRESS));
}

SEC("xdp")
int ts_uplink(struct xdp_md *ctx)
{
	__u32 *slot = ts_inbound_slot(ctx);
	struct ts_slot_config *config = slot ? ts_slot(*slot) : 0;

	if (!config)
		return XDP_PASS;
	/* First of all, so that whatever lies behind speaks the VM's numbers: its tap, the other host, user space. */
	if (config->uplink_mode != TS_UPLINK_CLOSED && ts_translate_in(ctx, *slot, config))
		return ts_end(*slot, TS_COUNT_UPLINK_ERROR, XDP_DROP);
	switch (config->uplink_mode) {
	case TS_UPLINK_DIRECT:
		return ts_end_redirect(*slot, TS_COUNT_UPLINK_TAP, TS_COUNT_UPLINK_ERROR,
				       bpf_redirect_map(&ts_taps, *slot, XDP_DROP));
	case TS_UPLINK_MIRROR:
		return ts_uplink_mirror(*slot);
	case TS_UPLINK_GATED:
		return ts_end_redirect(*slot, TS_COUNT_UPLINK_GATED, TS_COUNT_UPLINK_ERROR,
				       bpf_redirect_map(&ts_xsk_uplink, *slot, XDP_DROP));
	default:
		return ts_uplink_closed(ctx, *slot);
	}
}

/* Runs on the mirror's copy for the link, after the uplink program chose to mirror. */
SEC("xdp/devmap")
int ts_link_egress(struct xdp_md *ctx)
{
	__u32 *slot = ts_inbound_slot(ctx);
	struct ts_slot_config *config = slot ? ts_slot(*slot) : 0;

	if (!config || ts_encapsulate(ctx, *slot, config))
		return XDP_DROP;
	return XDP_PASS;
}

#endif
