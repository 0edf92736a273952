/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* What a frame is, and which of its bytes are compared. */
#ifndef TWINSTEP_PARSE_H
#define TWINSTEP_PARSE_H

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/tcp.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "bpf/abi/twinstep_abi.h"

#define TS_ARP_BYTES 28
/* More fragments follow, or the offset is not zero. */
#define TS_IP_FRAGMENT 0x3fff
/* 224.0.0.0/24, the local network control block (RFC 5771): IGMP, mDNS, LLMNR and the like. */
#define TS_IP_LOCAL_CONTROL 0xe0000000
#define TS_IP_LOCAL_CONTROL_MASK 0xffffff00

struct ts_packet {
	__u32 class;	      /* enum ts_class */
	__u32 tcp_offset;     /* of the TCP header; TS_CLASS_TCP only */
	__u32 payload_offset; /* of the compared bytes */
	__u32 payload_bytes;
};

static __always_inline int ts_is_group(const __u8 *mac)
{
	return mac[0] & 1;
}

static __always_inline int ts_is_broadcast(const __u8 *mac)
{
	return (mac[0] & mac[1] & mac[2] & mac[3] & mac[4] & mac[5]) == 0xff;
}

static __always_inline void ts_parse_tcp(void *data, void *end, __u32 ip_end, __u32 offset, struct ts_packet *packet)
{
	struct tcphdr *tcp = data + offset;
	__u32 header_bytes;

	if ((void *)(tcp + 1) > end)
		return;
	header_bytes = tcp->doff * 4u;
	if (header_bytes < sizeof(*tcp) || offset + header_bytes > ip_end)
		return;
	packet->class = TS_CLASS_TCP;
	packet->tcp_offset = offset;
	packet->payload_offset = offset + header_bytes;
	packet->payload_bytes = ip_end - packet->payload_offset;
}

/* A header that contradicts itself or the frame leaves the packet what it was: compared whole, whatever it is. */
static __always_inline void ts_parse_ipv4(void *data, void *end, struct ts_packet *packet)
{
	struct iphdr *ip = data + ETH_HLEN;
	__u32 header_bytes, total_bytes;

	if ((void *)(ip + 1) > end)
		return;
	header_bytes = ip->ihl * 4u;
	total_bytes = bpf_ntohs(ip->tot_len);
	if (ip->version != 4 || header_bytes < sizeof(*ip) || total_bytes < header_bytes ||
	    data + ETH_HLEN + total_bytes > end)
		return;
	packet->payload_offset = ETH_HLEN + header_bytes;
	packet->payload_bytes = total_bytes - header_bytes;
	if (ip->protocol == IPPROTO_IGMP || (bpf_ntohl(ip->daddr) & TS_IP_LOCAL_CONTROL_MASK) == TS_IP_LOCAL_CONTROL) {
		packet->class = TS_CLASS_SOFT;
		packet->payload_offset = ETH_HLEN;
		packet->payload_bytes = end - data - ETH_HLEN;
		return;
	}
	packet->class = TS_CLASS_DATAGRAM;
	if (ip->protocol == IPPROTO_TCP && !(ip->frag_off & bpf_htons(TS_IP_FRAGMENT)))
		ts_parse_tcp(data, end, ETH_HLEN + total_bytes, packet->payload_offset, packet);
}

/* Returns 0, or -1 for a frame with no whole Ethernet header. */
static __always_inline int ts_parse(struct xdp_md *ctx, struct ts_packet *packet)
{
	void *data = (void *)(long)ctx->data;
	void *end = (void *)(long)ctx->data_end;
	struct ethhdr *eth = data;

	if ((void *)(eth + 1) > end)
		return -1;
	packet->tcp_offset = 0;
	packet->payload_offset = ETH_HLEN;
	packet->payload_bytes = end - data - ETH_HLEN;
	packet->class = TS_CLASS_OTHER;
	if (eth->h_proto == bpf_htons(ETH_P_ARP)) {
		if (packet->payload_bytes >= TS_ARP_BYTES) {
			packet->class = TS_CLASS_ARP;
			packet->payload_bytes = TS_ARP_BYTES;
		}
	} else if (eth->h_proto == bpf_htons(ETH_P_IP)) {
		ts_parse_ipv4(data, end, packet);
	} else if (ts_is_group(eth->h_dest) && !ts_is_broadcast(eth->h_dest)) {
		packet->class = TS_CLASS_SOFT;
	}
	return 0;
}

#endif
