/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Frames between the hosts: outer Ethernet header, ts_link_header, body. */
#ifndef TWINSTEP_ENCAP_H
#define TWINSTEP_ENCAP_H

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "bpf/maps.h"

struct ts_link_frame {
	struct ethhdr eth;
	struct ts_link_header header;
} __attribute__((packed));
_Static_assert(sizeof(struct ts_link_frame) == TS_LINK_OVERHEAD_BYTES, "size of the encapsulation");

static __always_inline __u32 ts_next_mirror_sequence(__u32 slot)
{
	__u32 *sequence = bpf_map_lookup_elem(&ts_mirror_sequence, &slot);

	return sequence ? __sync_fetch_and_add(sequence, 1) : 0;
}

/* Puts the encapsulation of a mirrored frame in front of it. */
static __always_inline int ts_encapsulate(struct xdp_md *ctx, __u32 slot, const struct ts_slot_config *config)
{
	struct ts_link_frame *frame;

	if (bpf_xdp_adjust_head(ctx, -(int)sizeof(*frame)))
		return -1;
	frame = (void *)(long)ctx->data;
	if ((void *)(frame + 1) > (void *)(long)ctx->data_end)
		return -1;
	__builtin_memcpy(frame->eth.h_dest, config->link_peer_mac, ETH_ALEN);
	__builtin_memcpy(frame->eth.h_source, config->link_mac, ETH_ALEN);
	frame->eth.h_proto = bpf_htons(TS_ETHERTYPE);
	frame->header.abi_version = TS_ABI_VERSION;
	frame->header.type = TS_LINK_MIRROR;
	frame->header.vm_id = config->vm_id;
	frame->header.epoch = config->epoch;
	frame->header.sequence = ts_next_mirror_sequence(slot);
	frame->header.count = 1;
	frame->header.nic = config->nic;
	return 0;
}

#endif
