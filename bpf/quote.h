/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* ICMP errors about a segment that the VM sent: they quote its sequence number as the client knows it. */
#ifndef TWINSTEP_QUOTE_H
#define TWINSTEP_QUOTE_H

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#include "bpf/parse.h"
#include "bpf/rewrite.h"

#define TS_ICMP_CHECKSUM 2
#define TS_TCP_SEQ 4
#define TS_TCP_CHECKSUM 16

/* The flow of the VM's segment that a frame to the VM quotes. Returns -1 if it quotes none. */
static __always_inline int ts_quote_key(struct xdp_md *ctx, __u32 slot, const struct ts_packet *packet,
					struct ts_flow_key *key)
{
	void *data = (void *)(long)ctx->data;
	void *end = (void *)(long)ctx->data_end;
	struct ts_packet quoted;

	if (!packet->quoted_tcp_offset)
		return -1;
	ts_quoted(packet, &quoted);
	if (ts_packet_key(data, end, &quoted, 1, key))
		return -1;
	key->slot = slot;
	return 0;
}

/*
 * Adds to the quoted sequence number. The quoted segment's checksum follows if the quotation reaches that far, and ICMP's
 * follows both (RFC 1624). All offsets have the same parity.
 */
static __always_inline int ts_rewrite_quote(struct xdp_md *ctx, const struct ts_packet *packet, __u32 add)
{
	void *data = (void *)(long)ctx->data;
	void *end = (void *)(long)ctx->data_end;
	__u16 *icmp = data + (packet->transport_offset & 0xff) + TS_ICMP_CHECKSUM;
	void *tcp = data + (packet->quoted_tcp_offset & 0xff);
	__u16 *quoted = tcp + TS_TCP_CHECKSUM;
	__u16 before;
	__u64 sum;

	if ((void *)(icmp + 1) > end || tcp + TS_QUOTED_TCP_BYTES > end)
		return -1;
	sum = ts_shift_field(tcp + TS_TCP_SEQ, add, 0);
	if (packet->quoted_tcp_offset + TS_TCP_CHECKSUM + 2 <= packet->ip_end && (void *)(quoted + 1) <= end) {
		before = *quoted;
		*quoted = ~ts_fold((__u16)~before + sum);
		sum += (__u16)~before + *quoted;
	}
	*icmp = ~ts_fold((__u16)~*icmp + sum);
	return 0;
}

#endif
