/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* The parser, for a program's context. */
#ifndef TWINSTEP_PARSE_H
#define TWINSTEP_PARSE_H

#include <linux/bpf.h>

#include "bpf/abi/twinstep_packet.h"

/*
 * Returns 0, or -1 for a frame with no whole Ethernet header. packet: initialised, for kernels before 6.3.
 * Global, so that the verifier looks at it once and not along every path that leads to it.
 */
__attribute__((noinline)) int ts_parse(struct xdp_md *ctx, struct ts_packet *packet)
{
	void *data = (void *)(long)ctx->data;
	void *end = (void *)(long)ctx->data_end;

	return packet ? ts_parse_frame(data, end, end - data, packet) : -1;
}

#endif
