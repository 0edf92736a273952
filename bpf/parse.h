/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* The parser, for a program's context. */
#ifndef TWINSTEP_PARSE_H
#define TWINSTEP_PARSE_H

#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>

#include "bpf/abi/twinstep_packet.h"
#include "bpf/maps.h"

/* The parser's two halves are global, so that the verifier looks at them once and not along every path to them. */
__attribute__((noinline)) int ts_parse_ip(struct xdp_md *ctx, struct ts_packet *packet)
{
	void *data = (void *)(long)ctx->data;
	void *end = (void *)(long)ctx->data_end;

	__u32 bytes = ts_fragments ? bpf_xdp_get_buff_len(ctx) : end - data;

	return packet ? ts_parse_headers(data, end, bytes, packet) : -1;
}

__attribute__((noinline)) int ts_parse_icmp_error(struct xdp_md *ctx, struct ts_packet *packet)
{
	void *data = (void *)(long)ctx->data;
	void *end = (void *)(long)ctx->data_end;

	if (packet && ts_is_icmp_error(data, end, packet))
		ts_parse_quote(data, end, packet);
	return 0;
}

/* Returns 0, or -1 for a frame with no whole Ethernet header. packet: initialised, for kernels before 6.3. */
static __always_inline int ts_parse(struct xdp_md *ctx, struct ts_packet *packet)
{
	if (ts_parse_ip(ctx, packet))
		return -1;
	if (packet->kind == TS_CLASS_DATAGRAM)
		ts_parse_icmp_error(ctx, packet);
	return 0;
}

#endif
