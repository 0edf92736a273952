/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Moves a TCP segment's numbers by constants, its checksum with them (RFC 1624). */
#ifndef TWINSTEP_REWRITE_H
#define TWINSTEP_REWRITE_H

#include <linux/bpf.h>
#include <linux/tcp.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

/* TCP options (RFC 9293 3.2, RFC 7323, RFC 2018). */
#define TS_TCPOPT_END 0
#define TS_TCPOPT_NOP 1
#define TS_TCPOPT_SACK 5
#define TS_TCPOPT_TIMESTAMPS 8
#define TS_TCPOPT_TIMESTAMPS_BYTES 10
#define TS_TCPOPT_BYTES_MAX 40
#define TS_SACK_BLOCKS_MAX 4

/* What is added to each number, modulo 2^32. */
struct ts_shift {
	__u32 seq;
	__u32 ack; /* and both edges of each SACK block */
	__u32 tsval;
	__u32 tsecr;
};

static __always_inline __u32 ts_fold(__u64 sum)
{
	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return (sum & 0xffff) + (sum >> 16);
}

/* Adds to a big-endian number; returns what that adds to the ones' complement sum. odd: the number begins in the second
 * byte of a checksum word. */
static __always_inline __u64 ts_shift_field(__u32 *field, __u32 add, __u32 odd)
{
	__u32 old = *field;
	__u32 new = bpf_htonl(bpf_ntohl(old) + add);
	__u64 sum = (__u64)(__u32)~old + new;

	*field = new;
	return odd ? bpf_ntohs(ts_fold(sum)) : sum;
}

/* The edges of SACK blocks; `at` is the option's start. */
static __always_inline __u64 ts_shift_sack(__u8 *at, void *end, __u32 bytes, __u32 add, __u32 odd)
{
	__u64 sum = 0;

#pragma unroll
	for (__u32 block = 0; block < TS_SACK_BLOCKS_MAX; block++) {
		__u32 *edges = (void *)(at + 2 + 8 * block);

		if (2 + 8 * (block + 1) > bytes || (void *)(edges + 2) > end)
			break;
		sum += ts_shift_field(edges, add, odd);
		sum += ts_shift_field(edges + 1, add, odd);
	}
	return sum;
}

/* A walk over a segment's options. */
struct ts_option_walk {
	struct xdp_md *ctx;
	const struct ts_shift *shift;
	__u32 offset; /* of the next option, from the start of the frame */
	__u32 end;    /* of the TCP header */
	__u32 parity; /* of the TCP header's offset: checksum words begin there */
	__u32 has_ack;
	__u64 sum;
};

/* One step of the walk; returns 1 at its end. For bpf_loop(): as a plain loop it is too much for the verifier. */
static long ts_shift_option(__u32 step, struct ts_option_walk *walk)
{
	void *data = (void *)(long)walk->ctx->data;
	void *end = (void *)(long)walk->ctx->data_end;
	__u32 offset = walk->offset & 0xff;
	__u32 odd = (offset ^ walk->parity) & 1;
	__u8 *at = data + offset;
	__u32 bytes;

	if (offset >= walk->end || (void *)(at + 1) > end || at[0] == TS_TCPOPT_END)
		return 1;
	if (at[0] == TS_TCPOPT_NOP) {
		walk->offset = offset + 1;
		return 0;
	}
	if ((void *)(at + 2) > end)
		return 1;
	bytes = at[1];
	if (bytes < 2 || offset + bytes > walk->end)
		return 1;
	if (at[0] == TS_TCPOPT_TIMESTAMPS && bytes == TS_TCPOPT_TIMESTAMPS_BYTES &&
	    (void *)(at + TS_TCPOPT_TIMESTAMPS_BYTES) <= end) {
		walk->sum += ts_shift_field((void *)(at + 2), walk->shift->tsval, odd);
		/* TSecr is valid only with ACK (RFC 7323, 3.2). */
		if (walk->has_ack)
			walk->sum += ts_shift_field((void *)(at + 6), walk->shift->tsecr, odd);
	} else if (at[0] == TS_TCPOPT_SACK) {
		walk->sum += ts_shift_sack(at, end, bytes, walk->shift->ack, odd);
	}
	walk->offset = offset + bytes;
	return 0;
}

/* tcp_offset: of a header that ts_parse() accepted. */
static __always_inline int ts_rewrite_tcp(struct xdp_md *ctx, __u32 tcp_offset, const struct ts_shift *shift)
{
	struct tcphdr *tcp = (void *)(long)ctx->data + (tcp_offset & 0xff);
	struct ts_option_walk walk = {
		.ctx = ctx,
		.shift = shift,
		.offset = tcp_offset + sizeof(*tcp),
		.parity = tcp_offset,
	};

	if ((void *)(tcp + 1) > (void *)(long)ctx->data_end)
		return -1;
	walk.end = tcp_offset + tcp->doff * 4u;
	walk.has_ack = tcp->ack;
	walk.sum = (__u16)~tcp->check;
	walk.sum += ts_shift_field(&tcp->seq, shift->seq, 0);
	if (tcp->ack)
		walk.sum += ts_shift_field(&tcp->ack_seq, shift->ack, 0);
	bpf_loop(TS_TCPOPT_BYTES_MAX, ts_shift_option, &walk, 0);
	tcp->check = ~ts_fold(walk.sum);
	return 0;
}

#endif
