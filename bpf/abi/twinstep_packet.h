/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * What a frame is, which of its bytes are compared, and which flow it belongs to. One source for the XDP programs and
 * for user space, so that both take the same decisions (docs/decisions/0008-one-parser.md). Plain C that is C++ too;
 * headers are read byte by byte, as frames needn't be aligned.
 */
#ifndef TWINSTEP_PACKET_H
#define TWINSTEP_PACKET_H

#include "bpf/abi/twinstep_abi.h"

#ifdef __cplusplus
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wold-style-cast"
#endif

#define TS_INLINE static inline __attribute__((always_inline))

#define TS_ETHERNET_BYTES 14
#define TS_VLAN_BYTES 4
#define TS_IP4_BYTES_MIN 20
#define TS_IP6_BYTES 40
#define TS_TCP_BYTES_MIN 20
#define TS_ARP_BYTES 28
#define TS_ICMP_BYTES 8
/* Of a quoted segment at least the ports and the sequence number are there (RFC 792). */
#define TS_QUOTED_TCP_BYTES 8

#define TS_ETHERTYPE_IP4 0x0800
#define TS_ETHERTYPE_ARP 0x0806
#define TS_ETHERTYPE_VLAN 0x8100	 /* 802.1Q, a customer's tag */
#define TS_ETHERTYPE_VLAN_SERVICE 0x88a8 /* 802.1ad, a provider's tag */
#define TS_ETHERTYPE_IP6 0x86dd

/* IP protocols and IPv6 next headers (IANA). */
#define TS_PROTOCOL_HOP_BY_HOP 0
#define TS_PROTOCOL_ICMP 1
#define TS_PROTOCOL_IGMP 2
#define TS_PROTOCOL_TCP 6
#define TS_PROTOCOL_ROUTING 43
#define TS_PROTOCOL_FRAGMENT 44
#define TS_PROTOCOL_ICMP6 58
#define TS_PROTOCOL_DESTINATION 60

/* Extension headers that are walked; a packet with more is compared from the next one on as something unknown. */
#define TS_IP6_HEADERS_MAX 6
/* A quoted TCP header ends here at the latest. */
#define TS_QUOTE_END_MAX 255
/* An upper-layer header farther from the frame's start isn't looked at: its end must fit ts_frame_meta.payload_offset. */
#define TS_TRANSPORT_OFFSET_MAX 192

/* ts_packet.fragment: the offset in units of 8 bytes, and this bit. IPv4's layout (RFC 791); IPv6's is brought to it. */
#define TS_FRAGMENT_MORE 0x2000
#define TS_FRAGMENT_MASK 0x3fff

struct ts_packet {
	__u32 kind;		/* enum ts_class */
	__u32 ip_offset;	/* behind the Ethernet header and its VLAN tags */
	__u32 ip_end;		/* behind the IP packet, by its own length; only if family isn't 0 */
	__u32 transport_offset; /* behind IP's headers; likewise */
	__u32 payload_offset;	/* of the compared bytes */
	__u32 payload_bytes;
	__u32 quoted_ip_offset; /* of the packet that an ICMP error quotes, if that is a TCP segment; 0: it isn't */
	__u32 quoted_tcp_offset;
	__u16 ether_type;	/* the innermost, in host order */
	__u16 vlan[2];		/* see ts_flow_key */
	__u16 fragment;		/* 0: the packet is whole */
	__u8 family;		/* 4, 6, or 0: no IP, or an IP header that contradicts itself or the frame */
	__u8 protocol;		/* of what lies at transport_offset */
};

TS_INLINE __u32 ts_be16(const __u8 *at)
{
	return (__u32)at[0] << 8 | at[1];
}

TS_INLINE __u16 ts_to_be16(__u32 value)
{
	return (__u16)((value >> 8 & 0xff) | (value & 0xff) << 8);
}

TS_INLINE int ts_is_group(const __u8 *mac)
{
	return mac[0] & 1;
}

TS_INLINE int ts_is_broadcast(const __u8 *mac)
{
	return (mac[0] & mac[1] & mac[2] & mac[3] & mac[4] & mac[5]) == 0xff;
}

/* The rest of the frame from the network header on. */
TS_INLINE void ts_compare_all(struct ts_packet *packet, __u32 kind, __u32 frame_bytes)
{
	packet->kind = kind;
	packet->payload_offset = packet->ip_offset;
	packet->payload_bytes = frame_bytes - packet->ip_offset;
}

/* A header that contradicts the packet leaves it a datagram. */
TS_INLINE void ts_parse_tcp(const __u8 *data, const __u8 *end, struct ts_packet *packet)
{
	const __u8 *tcp = data + (packet->transport_offset & 0xff);
	__u32 header_bytes;

	if (tcp + TS_TCP_BYTES_MIN > end)
		return;
	header_bytes = (tcp[12] >> 4) * 4u;
	if (header_bytes < TS_TCP_BYTES_MIN || packet->transport_offset + header_bytes > packet->ip_end)
		return;
	packet->kind = TS_CLASS_TCP;
	packet->payload_offset = packet->transport_offset + header_bytes;
	packet->payload_bytes = packet->ip_end - packet->payload_offset;
}

/* What both IP versions have in common once the upper-layer header is found. */
TS_INLINE void ts_parse_transport(const __u8 *data, const __u8 *end, int stream, struct ts_packet *packet)
{
	packet->kind = TS_CLASS_DATAGRAM;
	packet->payload_offset = packet->transport_offset;
	packet->payload_bytes = packet->ip_end - packet->transport_offset;
	if (stream && packet->protocol == TS_PROTOCOL_TCP && !packet->fragment)
		ts_parse_tcp(data, end, packet);
}

/* 224.0.0.0/24, the local network control block (RFC 5771): mDNS, LLMNR and the like. And IGMP, whatever its group. */
TS_INLINE int ts_is_soft_ip4(const __u8 *ip)
{
	return ip[9] == TS_PROTOCOL_IGMP || (ip[16] == 224 && ip[17] == 0 && ip[18] == 0);
}

TS_INLINE void ts_parse_ip4(const __u8 *data, const __u8 *end, __u32 frame_bytes, struct ts_packet *packet)
{
	const __u8 *ip = data + (packet->ip_offset & 0xff);
	__u32 header_bytes, total_bytes;

	if (ip + TS_IP4_BYTES_MIN > end)
		return;
	header_bytes = (ip[0] & 0xf) * 4u;
	total_bytes = ts_be16(ip + 2);
	if (ip[0] >> 4 != 4 || header_bytes < TS_IP4_BYTES_MIN || total_bytes < header_bytes ||
	    packet->ip_offset + total_bytes > frame_bytes)
		return;
	packet->family = 4;
	packet->ip_end = packet->ip_offset + total_bytes;
	packet->protocol = ip[9];
	packet->fragment = (__u16)(ts_be16(ip + 6) & TS_FRAGMENT_MASK);
	packet->transport_offset = packet->ip_offset + header_bytes;
	if (ts_is_soft_ip4(ip))
		ts_compare_all(packet, TS_CLASS_SOFT, frame_bytes);
	else
		ts_parse_transport(data, end, 1, packet);
}

/*
 * Multicast of interface or link scope (RFC 4291, 2.7) and MLD (RFC 3810), but not what neighbour discovery says of where
 * the VM is, as ARP does (RFC 4861: types 134 to 137). A router solicitation (133) says nothing, at random moments.
 */
TS_INLINE int ts_is_soft_ip6(const __u8 *data, const __u8 *end, const __u8 *ip, const struct ts_packet *packet)
{
	const __u8 *icmp = data + (packet->transport_offset & 0xff);
	__u32 type = 0;

	if (packet->protocol == TS_PROTOCOL_ICMP6 && !packet->fragment && icmp + 1 <= end)
		type = icmp[0];
	if (type >= 134 && type <= 137)
		return 0;
	if ((type >= 130 && type <= 132) || type == 143)
		return 1;
	return ip[24] == 0xff && ((ip[25] & 0xf) == 1 || (ip[25] & 0xf) == 2);
}

/*
 * Walks the extension headers (RFC 8200, 4). Stops at the upper-layer header, at a fragment's data, and at a header that
 * contradicts the packet, is too far, or is one too many. AH and ESP aren't walked: what they protect can't be
 * rewritten, so it is compared as it is. Returns whether a TCP header found there may be taken for a stream's: not
 * behind a routing header with segments left, as the connection's other end is named there and not in the IP header.
 */
TS_INLINE int ts_walk_ip6(const __u8 *data, const __u8 *end, struct ts_packet *packet)
{
	__u32 next = packet->protocol, offset = packet->transport_offset, bytes, field;
	int stream = 1;

	for (int i = 0; i < TS_IP6_HEADERS_MAX; i++) {
		const __u8 *header = data + (offset & 0xff);

		if (next != TS_PROTOCOL_HOP_BY_HOP && next != TS_PROTOCOL_ROUTING && next != TS_PROTOCOL_FRAGMENT &&
		    next != TS_PROTOCOL_DESTINATION)
			break;
		if (header + 8 > end)
			break;
		bytes = next == TS_PROTOCOL_FRAGMENT ? 8 : (header[1] + 1u) * 8;
		if (offset + bytes > packet->ip_end || offset + bytes > TS_TRANSPORT_OFFSET_MAX)
			break;
		offset += bytes;
		if (next == TS_PROTOCOL_FRAGMENT) {
			field = ts_be16(header + 2);
			packet->fragment = (__u16)(field >> 3 | (field & 1 ? TS_FRAGMENT_MORE : 0));
		} else if (next == TS_PROTOCOL_ROUTING && header[3] != 0) {
			stream = 0;
		}
		next = header[0];
		if (packet->fragment)
			break;
	}
	packet->protocol = (__u8)next;
	packet->transport_offset = offset;
	return stream;
}

TS_INLINE void ts_parse_ip6(const __u8 *data, const __u8 *end, __u32 frame_bytes, struct ts_packet *packet)
{
	const __u8 *ip = data + (packet->ip_offset & 0xff);
	__u32 ip_end;
	int stream;

	if (ip + TS_IP6_BYTES > end || ip[0] >> 4 != 6)
		return;
	ip_end = packet->ip_offset + TS_IP6_BYTES + ts_be16(ip + 4);
	if (ip_end > frame_bytes)
		return;
	packet->family = 6;
	packet->ip_end = ip_end;
	packet->protocol = ip[6];
	packet->transport_offset = packet->ip_offset + TS_IP6_BYTES;
	stream = ts_walk_ip6(data, end, packet);
	if (ts_is_soft_ip6(data, end, ip, packet))
		ts_compare_all(packet, TS_CLASS_SOFT, frame_bytes);
	else
		ts_parse_transport(data, end, stream, packet);
}

TS_INLINE int ts_is_vlan(__u32 ether_type)
{
	return ether_type == TS_ETHERTYPE_VLAN || ether_type == TS_ETHERTYPE_VLAN_SERVICE;
}

/* Takes up to two tags. A tag of VLAN 0 only carries a priority and names no VLAN (802.1Q). */
TS_INLINE void ts_parse_ethernet(const __u8 *data, const __u8 *end, struct ts_packet *packet)
{
	__u32 type = ts_be16(data + 12), offset = TS_ETHERNET_BYTES, id;

	for (int i = 0; i < 2; i++) {
		const __u8 *tag = data + offset;

		if (!ts_is_vlan(type) || tag + TS_VLAN_BYTES > end)
			break;
		id = ts_be16(tag) & 0xfff;
		if (id && type == TS_ETHERTYPE_VLAN_SERVICE)
			id |= TS_VLAN_SERVICE;
		if (packet->vlan[0])
			packet->vlan[1] = (__u16)id;
		else
			packet->vlan[0] = (__u16)id;
		type = ts_be16(tag + 2);
		offset += TS_VLAN_BYTES;
	}
	packet->ether_type = (__u16)type;
	packet->ip_offset = offset;
}

/* An error of ICMP (RFC 792) or ICMPv6 (RFC 4443, 2.1: types below 128), which quotes the packet that caused it. */
TS_INLINE int ts_is_icmp_error(const __u8 *data, const __u8 *end, const struct ts_packet *packet)
{
	const __u8 *icmp = data + (packet->transport_offset & 0xff);

	if (packet->kind != TS_CLASS_DATAGRAM || packet->fragment || packet->payload_bytes < TS_ICMP_BYTES ||
	    icmp + 1 > end)
		return 0;
	if (packet->family == 6)
		return packet->protocol == TS_PROTOCOL_ICMP6 && icmp[0] < 128;
	return packet->protocol == TS_PROTOCOL_ICMP &&
	       (icmp[0] == 3 || icmp[0] == 4 || icmp[0] == 5 || icmp[0] == 11 || icmp[0] == 12);
}

/* Finds the upper-layer header in a quotation, which may be cut off anywhere. Returns -1 if it isn't TCP's. */
TS_INLINE int ts_parse_quoted_ip(const __u8 *data, const __u8 *end, struct ts_packet *quoted)
{
	const __u8 *ip = data + (quoted->ip_offset & 0xff);

	if (quoted->family == 4) {
		if (ip + TS_IP4_BYTES_MIN > end || ip[0] >> 4 != 4 || (ip[0] & 0xf) < 5)
			return -1;
		quoted->protocol = ip[9];
		quoted->fragment = (__u16)(ts_be16(ip + 6) & (TS_FRAGMENT_MASK & ~TS_FRAGMENT_MORE));
		quoted->transport_offset = quoted->ip_offset + (ip[0] & 0xf) * 4u;
	} else {
		if (ip + TS_IP6_BYTES > end || ip[0] >> 4 != 6)
			return -1;
		quoted->protocol = ip[6];
		quoted->transport_offset = quoted->ip_offset + TS_IP6_BYTES;
		ts_walk_ip6(data, end, quoted);
		quoted->fragment &= TS_FRAGMENT_MASK & ~TS_FRAGMENT_MORE;
	}
	return quoted->protocol == TS_PROTOCOL_TCP && !quoted->fragment ? 0 : -1;
}

/* The packet that an ICMP error quotes, as ts_packet_key() takes it. */
TS_INLINE void ts_quoted(const struct ts_packet *packet, struct ts_packet *quoted)
{
	__builtin_memset(quoted, 0, sizeof(*quoted));
	quoted->kind = TS_CLASS_TCP;
	quoted->family = packet->family;
	quoted->protocol = TS_PROTOCOL_TCP;
	quoted->vlan[0] = packet->vlan[0];
	quoted->vlan[1] = packet->vlan[1];
	quoted->ip_offset = packet->quoted_ip_offset;
	quoted->transport_offset = packet->quoted_tcp_offset;
}

/*
 * An ICMP error that quotes a TCP segment is compared up to the quoted sequence number. What follows of the quotation is
 * the client's own segment, with an acknowledgement in the numbers of the VM that got it. packet: an ICMP error.
 */
TS_INLINE void ts_parse_quote(const __u8 *data, const __u8 *end, struct ts_packet *packet)
{
	struct ts_packet quoted;
	__u32 quote_end;

	ts_quoted(packet, &quoted);
	quoted.ip_offset = packet->transport_offset + TS_ICMP_BYTES;
	quoted.ip_end = packet->ip_end;
	if (ts_parse_quoted_ip(data, end, &quoted))
		return;
	quote_end = quoted.transport_offset + TS_QUOTED_TCP_BYTES;
	if (quote_end > packet->ip_end || quote_end > TS_QUOTE_END_MAX)
		return;
	packet->quoted_ip_offset = quoted.ip_offset;
	packet->quoted_tcp_offset = quoted.transport_offset;
	packet->payload_bytes = quote_end - packet->payload_offset;
}

/*
 * All but the quotation of an ICMP error. [data, end): the part of the frame that lies in one piece; frame_bytes: all of
 * it. A header that contradicts itself or the frame leaves the packet what it was: compared whole, whatever it is.
 * Returns -1 for a frame with no whole Ethernet header.
 */
TS_INLINE int ts_parse_headers(const __u8 *data, const __u8 *end, __u32 frame_bytes, struct ts_packet *packet)
{
	__builtin_memset(packet, 0, sizeof(*packet));
	if (data + TS_ETHERNET_BYTES > end)
		return -1;
	ts_parse_ethernet(data, end, packet);
	ts_compare_all(packet, TS_CLASS_OTHER, frame_bytes);
	if (packet->ether_type == TS_ETHERTYPE_ARP) {
		if (packet->payload_bytes >= TS_ARP_BYTES) {
			packet->kind = TS_CLASS_ARP;
			packet->payload_bytes = TS_ARP_BYTES;
		}
	} else if (packet->ether_type == TS_ETHERTYPE_IP4) {
		ts_parse_ip4(data, end, frame_bytes, packet);
	} else if (packet->ether_type == TS_ETHERTYPE_IP6) {
		ts_parse_ip6(data, end, frame_bytes, packet);
	} else if (ts_is_group(data) && !ts_is_broadcast(data)) {
		packet->kind = TS_CLASS_SOFT;
	}
	return 0;
}

/* The same with the quotation. */
TS_INLINE int ts_parse_frame(const __u8 *data, const __u8 *end, __u32 frame_bytes, struct ts_packet *packet)
{
	if (ts_parse_headers(data, end, frame_bytes, packet))
		return -1;
	if (ts_is_icmp_error(data, end, packet))
		ts_parse_quote(data, end, packet);
	return 0;
}

/*
 * The flow of a frame that ts_parse_frame() accepted, from_vm or to it; slot stays 0. Returns -1 if the headers don't
 * lie in [data, end).
 */
TS_INLINE int ts_packet_key(const __u8 *data, const __u8 *end, const struct ts_packet *packet, int from_vm,
			    struct ts_flow_key *key)
{
	__u8 *source = from_vm ? key->vm_addr : key->peer_addr;
	__u8 *destination = from_vm ? key->peer_addr : key->vm_addr;
	const __u8 *ip = data + (packet->ip_offset & 0xff);
	const __u8 *tcp = data + (packet->transport_offset & 0xff);

	__builtin_memset(key, 0, sizeof(*key));
	key->family = packet->family;
	key->protocol = packet->protocol;
	key->vlan[0] = packet->vlan[0];
	key->vlan[1] = packet->vlan[1];
	if (packet->family == 4) {
		if (ip + TS_IP4_BYTES_MIN > end)
			return -1;
		__builtin_memcpy(source, ip + 12, 4);
		__builtin_memcpy(destination, ip + 16, 4);
	} else if (packet->family == 6) {
		if (ip + TS_IP6_BYTES > end)
			return -1;
		__builtin_memcpy(source, ip + 8, 16);
		__builtin_memcpy(destination, ip + 24, 16);
	} else {
		if (data + TS_ETHERNET_BYTES > end)
			return -1;
		__builtin_memcpy(source, data + 6, 6);
		__builtin_memcpy(destination, data, 6);
		key->peer_port_be = ts_to_be16(packet->ether_type);
	}
	if (packet->kind == TS_CLASS_TCP) {
		if (tcp + 4 > end)
			return -1;
		__builtin_memcpy(from_vm ? &key->vm_port_be : &key->peer_port_be, tcp, 2);
		__builtin_memcpy(from_vm ? &key->peer_port_be : &key->vm_port_be, tcp + 2, 2);
	} else if (packet->fragment) {
		key->peer_port_be = ts_to_be16(packet->fragment);
	}
	return 0;
}

/*
 * The number that names a flow between the hosts, whatever its slot: two multilinear hashes of 32 bits (Lemire & Kaser,
 * "Strongly universal string hashing is fast", 2014). Two different keys share it with probability 2^-64.
 */
TS_INLINE __u64 ts_flow_id(const struct ts_flow_id_key *secret, const struct ts_flow_key *key)
{
	__u64 high = secret->factor[0][0], low = secret->factor[1][0];
	__u32 words[TS_FLOW_ID_WORDS];

	__builtin_memcpy(words, key, sizeof(words));
	words[TS_FLOW_ID_WORDS - 1] &= TS_FLOW_ID_LAST_MASK;
	for (int i = 0; i < TS_FLOW_ID_WORDS; i++) {
		high += secret->factor[0][i + 1] * words[i];
		low += secret->factor[1][i + 1] * words[i];
	}
	return (high & 0xffffffff00000000ull) | low >> 32;
}

#undef TS_INLINE
#ifdef __cplusplus
#pragma GCC diagnostic pop
#endif

#endif
