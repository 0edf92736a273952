/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Frames of the start-up proof: the programs send them the way they ask for, and nobody else gets one. */
#ifndef TWINSTEP_PROBE_H
#define TWINSTEP_PROBE_H

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "bpf/maps.h"

/* The probe in the Ethernet frame that begins at `offset`, or nothing: it is none, or not of this slot. */
static __always_inline const struct ts_probe *ts_probe_of(struct xdp_md *ctx, __u32 offset,
							  const struct ts_slot_config *config)
{
	struct ethhdr *eth = (void *)(long)ctx->data + offset;
	struct ts_probe *probe = (void *)(eth + 1);

	if ((void *)(probe + 1) > (void *)(long)ctx->data_end || eth->h_proto != bpf_htons(TS_ETHERTYPE) ||
	    !config->probe || probe->nonce != config->probe)
		return 0;
	return probe;
}

/* On the uplink's way out: a probe ends here, short of the network. */
SEC("xdp/devmap")
int ts_uplink_egress(struct xdp_md *ctx)
{
	struct ethhdr *eth = (void *)(long)ctx->data;
	struct ts_probe *probe = (void *)(eth + 1);
	struct ts_slot_config *config;

	if ((void *)(probe + 1) > (void *)(long)ctx->data_end || eth->h_proto != bpf_htons(TS_ETHERTYPE))
		return XDP_PASS;
	config = ts_slot(probe->slot);
	if (!config || !config->probe || probe->nonce != config->probe)
		return XDP_PASS;
	return ts_end(probe->slot, TS_COUNT_PROBES_OUT, XDP_DROP);
}

/* Run for a device whose programs are generic: lets the frame in where the driver would, before the device's own program. */
SEC("xdp")
int ts_arrive(struct xdp_md *ctx)
{
	return XDP_PASS;
}

#endif
