/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Recognizes the frames of the start-up proof. */
#ifndef TWINSTEP_PROBE_H
#define TWINSTEP_PROBE_H

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "bpf/abi/twinstep_abi.h"

/* The probe in the frame that begins at `offset`, or nothing: it is none, or not of this slot. */
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

#endif
