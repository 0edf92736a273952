/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * On the uplink: what clients send.
 * A frame to the MAC of a VM that has this uplink is the VM's. Everything else is the host's own, passes to its stack
 * untouched, and isn't counted. That includes group-addressed frames (ARP requests above all): XDP can't hand a frame to
 * several VMs and to the stack, so each VM's plane gets its copy of what passes from a packet socket.
 */
#ifndef TWINSTEP_UPLINK_H
#define TWINSTEP_UPLINK_H

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "bpf/encap.h"
#include "bpf/maps.h"
#include "bpf/parse.h"
#include "bpf/probe.h"
#include "bpf/translate.h"

/* The slot whose MAC the frame is for, or nothing. */
static __always_inline __u32 *ts_inbound_slot(struct xdp_md *ctx)
{
	struct ethhdr *eth = (void *)(long)ctx->data;
	struct ts_mac mac;

	if ((void *)(eth + 1) > (void *)(long)ctx->data_end)
		return 0;
	__builtin_memcpy(mac.bytes, eth->h_dest, sizeof(mac.bytes));
	return bpf_map_lookup_elem(&ts_mac_slot, &mac);
}

/*
 * A frame of the packet memory is copied when it is redirected, without the room in front of it that ts_link_egress
 * needs (the kernel's xdp_convert_zc_to_xdp_frame()). So it is encapsulated before that, and ts_tap_ingress unpacks the
 * tap's copy.
 */
static __always_inline int ts_prepare_mirror(struct xdp_md *ctx, __u32 slot, const struct ts_slot_config *config,
					     int joined)
{
	return !joined && config->flags & TS_SLOT_ZERO_COPY ? ts_encapsulate(ctx, slot, config) : 0;
}

static __always_inline int ts_uplink_mirror(struct xdp_md *ctx, __u32 slot, const struct ts_slot_config *config,
					    int joined)
{
	void *devices = bpf_map_lookup_elem(&ts_mirrors, &slot);

	if (!devices || ts_prepare_mirror(ctx, slot, config, joined))
		return ts_end(slot, TS_COUNT_UPLINK_ERROR, XDP_DROP);
	return ts_end_redirect(slot, TS_COUNT_UPLINK_MIRRORED, TS_COUNT_UPLINK_ERROR,
			       bpf_redirect_map(devices, 0, BPF_F_BROADCAST | BPF_F_EXCLUDE_INGRESS));
}

static __always_inline int ts_probe_mirror(struct xdp_md *ctx, __u32 slot, const struct ts_slot_config *config,
					   __u32 device, int joined)
{
	void *devices = bpf_map_lookup_elem(&ts_mirrors, &slot);

	if (!devices || ts_prepare_mirror(ctx, slot, config, joined))
		return ts_end(slot, TS_COUNT_UPLINK_ERROR, XDP_DROP);
	return ts_end_redirect(slot, TS_COUNT_PROBES, TS_COUNT_UPLINK_ERROR,
			       bpf_redirect_map(devices, device, XDP_DROP));
}

static __always_inline int ts_uplink_probe(struct xdp_md *ctx, __u32 slot, const struct ts_slot_config *config,
					   __u32 path, int joined)
{
	switch (path) {
	case TS_PROBE_TAP:
		return ts_end_redirect(slot, TS_COUNT_PROBES, TS_COUNT_UPLINK_ERROR,
				       bpf_redirect_map(&ts_taps, slot, XDP_DROP));
	case TS_PROBE_MIRROR_TAP:
		return ts_probe_mirror(ctx, slot, config, TS_MIRROR_TAP, joined);
	case TS_PROBE_LINK:
		return ts_probe_mirror(ctx, slot, config, TS_MIRROR_LINK, joined);
	default:
		return ts_end_redirect(slot, TS_COUNT_PROBES, TS_COUNT_UPLINK_ERROR,
				       ts_to_socket(ctx, &ts_xsk_uplink, slot));
	}
}

/* joined: libxdp's dispatcher runs the program, in the place of a function that leaves a frame's bounds alone. */
static __always_inline int ts_uplink_frame(struct xdp_md *ctx, int joined)
{
	__u32 *slot = ts_inbound_slot(ctx);
	struct ts_slot_config *config = slot ? ts_slot(*slot) : 0;
	const struct ts_probe *probe;

	if (!config || config->uplink_ifindex != ctx->ingress_ifindex)
		return XDP_PASS;
	if (joined && !ts_has_reader(&ts_xsk_uplink, *slot))
		return XDP_PASS;
	probe = ts_probe_of(ctx, 0, config);
	if (probe)
		return ts_uplink_probe(ctx, *slot, config, probe->path, joined);
	/* First of all, so that whatever lies behind speaks the VM's numbers: its tap, the other host, user space. */
	if (config->uplink_mode != TS_UPLINK_CLOSED && ts_translate_in(ctx, *slot, config))
		return ts_end(*slot, TS_COUNT_UPLINK_ERROR, XDP_DROP);
	/* The kernel redirects no fragments into a tap, and copies none for two devices. */
	if (config->flags & TS_SLOT_FRAGMENTS && config->uplink_mode != TS_UPLINK_CLOSED)
		return ts_end_redirect(*slot, TS_COUNT_UPLINK_GATED, TS_COUNT_UPLINK_ERROR,
				       ts_to_socket(ctx, &ts_xsk_uplink, *slot));
	switch (config->uplink_mode) {
	case TS_UPLINK_DIRECT:
		return ts_end_redirect(*slot, TS_COUNT_UPLINK_TAP, TS_COUNT_UPLINK_ERROR,
				       bpf_redirect_map(&ts_taps, *slot, XDP_DROP));
	case TS_UPLINK_MIRROR:
		return ts_uplink_mirror(ctx, *slot, config, joined);
	case TS_UPLINK_GATED:
		return ts_end_redirect(*slot, TS_COUNT_UPLINK_GATED, TS_COUNT_UPLINK_ERROR,
				       ts_to_socket(ctx, &ts_xsk_uplink, *slot));
	default:
		return ts_end(*slot, TS_COUNT_UPLINK_CLOSED, XDP_DROP);
	}
}

SEC("xdp")
int ts_uplink(struct xdp_md *ctx)
{
	return ts_uplink_frame(ctx, 0);
}

SEC("?xdp")
int ts_uplink_join(struct xdp_md *ctx)
{
	return ts_uplink_frame(ctx, 1);
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

/* Runs on the mirror's copy for the tap, where ts_uplink has encapsulated the frame. */
SEC("xdp/devmap")
int ts_tap_ingress(struct xdp_md *ctx)
{
	return bpf_xdp_adjust_head(ctx, sizeof(struct ts_link_frame)) ? XDP_DROP : XDP_PASS;
}

#endif
