/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Connections that outlived a failover: between the numbers the client knows and the VM's (struct ts_translation). */
#ifndef TWINSTEP_TRANSLATE_H
#define TWINSTEP_TRANSLATE_H

#include "bpf/flows.h"
#include "bpf/maps.h"
#include "bpf/parse.h"
#include "bpf/quote.h"
#include "bpf/rewrite.h"

static __always_inline void ts_translation_used(struct ts_translation *translation, const struct tcphdr *tcp, __u32 fin)
{
	__u32 flags = translation->flags & ~TS_TRANSLATION_RESET;

	if (tcp->fin)
		flags |= fin;
	if (tcp->rst)
		flags |= TS_TRANSLATION_RESET;
	translation->flags = flags;
	translation->used_ns = bpf_ktime_get_coarse_ns();
}

/*
 * The translation of a segment that the VM sends; to be asked once, when it is sent. The VM's SYN or SYN-ACK with another
 * initial number opens another connection, whose numbers the client learns from the VM itself.
 */
static __always_inline struct ts_translation *ts_translation_out(const struct ts_segment *segment,
								 const struct ts_slot_config *config)
{
	struct ts_translation *translation;

	if (!config->translates)
		return 0;
	translation = bpf_map_lookup_elem(&ts_translations, &segment->key);
	if (!translation)
		return 0;
	if (segment->tcp->syn &&
	    (!(translation->flags & TS_TRANSLATION_ISN) || translation->vm_isn != bpf_ntohl(segment->tcp->seq))) {
		bpf_map_delete_elem(&ts_translations, &segment->key);
		return 0;
	}
	ts_translation_used(translation, segment->tcp, TS_TRANSLATION_VM_FIN);
	return translation;
}

/* Makes a segment on its way out the client's. translation: of ts_translation_out(), or nothing. */
static __always_inline int ts_translate_out(struct xdp_md *ctx, const struct ts_packet *packet,
					    const struct ts_translation *translation)
{
	struct ts_shift shift;

	if (!translation)
		return 0;
	shift = (struct ts_shift){.seq = -translation->seq_delta, .tsval = translation->ts_offset};
	return ts_rewrite_tcp(ctx, packet->transport_offset, &shift);
}

/* An ICMP error about a segment that the client knows by its own numbers. */
static __always_inline int ts_translate_quote(struct xdp_md *ctx, __u32 slot, const struct ts_packet *packet)
{
	struct ts_translation *translation;
	struct ts_flow_key key;

	if (ts_quote_key(ctx, slot, packet, &key))
		return 0;
	translation = bpf_map_lookup_elem(&ts_translations, &key);
	return translation ? ts_rewrite_quote(ctx, packet, translation->seq_delta) : 0;
}

/* Makes a client's frame the VM's. Returns -1 for one that can't be read. */
static __always_inline int ts_translate_in(struct xdp_md *ctx, __u32 slot, const struct ts_slot_config *config)
{
	struct ts_translation *translation;
	struct ts_segment segment;
	struct ts_packet packet = {};
	struct ts_shift shift;

	if (!config->translates)
		return 0;
	if (ts_parse(ctx, &packet))
		return -1;
	if (packet.kind == TS_CLASS_DATAGRAM)
		return ts_translate_quote(ctx, slot, &packet);
	/* Without ACK there is nothing to translate: a SYN, or a RST of a connection the VM may not have. */
	if (ts_segment(ctx, slot, &packet, TS_TO_VM, &segment) || !segment.tcp->ack)
		return 0;
	translation = bpf_map_lookup_elem(&ts_translations, &segment.key);
	if (!translation)
		return 0;
	if (translation->flags & TS_TRANSLATION_OPENING &&
	    ts_tells_isn(segment.tcp, translation->flags & TS_TRANSLATION_DIALLED)) {
		translation->seq_delta = translation->vm_isn + 1 - bpf_ntohl(segment.tcp->ack_seq);
		translation->flags &= ~TS_TRANSLATION_OPENING;
	}
	ts_translation_used(translation, segment.tcp, TS_TRANSLATION_CLIENT_FIN);
	shift = (struct ts_shift){.ack = translation->seq_delta, .tsecr = -translation->ts_offset};
	return ts_rewrite_tcp(ctx, packet.transport_offset, &shift);
}

#endif
