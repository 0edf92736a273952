/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * When a TCP frame of the PVM may leave: the rules that the XDP programs and the comparison in user space share, and the
 * state of a connection that user space has lent to the programs (docs/decisions/0007-match-in-the-kernel.md). Plain C
 * that is C++ too.
 */
#ifndef TWINSTEP_MATCH_H
#define TWINSTEP_MATCH_H

#include "bpf/abi/twinstep_abi.h"

#ifdef __cplusplus
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wold-style-cast"
#pragma GCC diagnostic ignored "-Wsign-conversion"
#pragma GCC diagnostic ignored "-Wconversion"
#endif

#define TS_INLINE static inline __attribute__((always_inline))

#define TS_TCP_FLAG_FIN 0x01
#define TS_TCP_FLAG_SYN 0x02
#define TS_TCP_FLAG_RST 0x04
#define TS_TCP_FLAG_PSH 0x08
#define TS_TCP_FLAG_ACK 0x10

/* The rules. */

/* a <= b in sequence space (RFC 9293, 3.4): wrap-safe for distances under 2^31. */
TS_INLINE int ts_seq_le(__u32 a, __u32 b)
{
	return (__s32)(b - a) >= 0;
}

/* The ack rule: the SVM has acknowledged all that the frame acknowledges. */
TS_INLINE int ts_ack_rule(__u32 frame_ack, __u32 svm_ack)
{
	return ts_seq_le(frame_ack, svm_ack);
}

/* The right edge that a segment advertises. */
TS_INLINE __u32 ts_window_edge(__u32 ack, __u32 window, __u32 scale)
{
	return ack + (window << (scale & 31));
}

/* The window rule: what the client is told is no more than the SVM would take. */
TS_INLINE int ts_window_rule(__u32 frame_edge, __u32 svm_edge)
{
	return ts_seq_le(frame_edge, svm_edge);
}

/* Right edges and acknowledgements only move right here (RFC 9293, 3.8.6); records may overtake each other. */
TS_INLINE __u32 ts_seq_max(__u32 a, __u32 b)
{
	return ts_seq_le(a, b) ? b : a;
}

/* Whether a record only says how far the SVM's stream is and what it acknowledges. */
TS_INLINE int ts_record_is_plain(const struct ts_record *record)
{
	__u8 needed = TS_RECORD_ACK | TS_RECORD_BASE;

	return record->type == TS_RECORD_TCP && (record->flags & ~TS_RECORD_TSVAL) == needed;
}

/* The digest of a stream. */

/*
 * To append to a cumulative digest: power[n][i] is 2^(23 i) / 256^n modulo p, in limbs of 23 bits, lowest first. p lies in
 * [2^68, 2^69): weakened keys have no such table.
 */
#define TS_APPEND_LIMBS 5
struct ts_append_key {
	__u32 power[TS_DIGEST_BYTES_MAX + 1][TS_APPEND_LIMBS][TS_DIGEST_LIMBS];
	__u32 prime[TS_DIGEST_LIMBS];
	__u64 reciprocal; /* 2^103 / p */
};

/* A digest reduced modulo p, as in ts_record. */
struct ts_residue {
	__u64 lo;
	__u32 hi;
	__u32 reserved;
};
TS_ASSERT_SIZE(struct ts_residue, 16);

#define TS_LIMB(x) ((x) & ((1u << TS_DIGEST_LIMB_BITS) - 1))
#define TS_LOW_BITS (2 * TS_DIGEST_LIMB_BITS)

/*
 * DigestKey::append() for raw accumulators: 256^-bytes * (cumulative + digest) mod p. With no bytes and a cumulative of
 * zero it reduces. bytes: up to TS_DIGEST_BYTES_MAX.
 */
TS_INLINE void ts_append(const struct ts_append_key *key, const __u64 *acc, __u32 bytes, struct ts_residue *cumulative)
{
	__u64 limb[TS_APPEND_LIMBS], sum[TS_DIGEST_LIMBS], carry, quotient, low, high;
	__u64 prime_low = (__u64)key->prime[1] << TS_DIGEST_LIMB_BITS | key->prime[0];
	__s64 rest;

	/* Callers have bounded it, but the verifier of Linux 6.1 forgets that when the register is spilled. */
	asm volatile("" : "+r"(bytes));
	if (bytes > TS_DIGEST_BYTES_MAX)
		bytes = TS_DIGEST_BYTES_MAX;

	carry = acc[0] + TS_LIMB(cumulative->lo);
	limb[0] = TS_LIMB(carry);
	carry = (carry >> TS_DIGEST_LIMB_BITS) + acc[1] + TS_LIMB(cumulative->lo >> TS_DIGEST_LIMB_BITS);
	limb[1] = TS_LIMB(carry);
	carry = (carry >> TS_DIGEST_LIMB_BITS) + acc[2] +
		(cumulative->lo >> TS_LOW_BITS | (__u64)cumulative->hi << (64 - TS_LOW_BITS));
	limb[2] = TS_LIMB(carry);
	carry >>= TS_DIGEST_LIMB_BITS;
	limb[3] = TS_LIMB(carry);
	limb[4] = carry >> TS_DIGEST_LIMB_BITS;

	for (int k = 0; k < TS_DIGEST_LIMBS; k++) {
		sum[k] = 0;
		for (int i = 0; i < TS_APPEND_LIMBS; i++)
			sum[k] += limb[i] * key->power[bytes][i][k];
	}
	sum[1] += sum[0] >> TS_DIGEST_LIMB_BITS;
	sum[2] += sum[1] >> TS_DIGEST_LIMB_BITS;

	/* Barrett (1986): the estimate is at most 2 too small. */
	quotient = (sum[2] >> 22) * key->reciprocal >> 35;
	rest = (__s64)(TS_LIMB(sum[0]) - quotient * key->prime[0]);
	low = TS_LIMB((__u64)rest);
	rest = (rest >> TS_DIGEST_LIMB_BITS) + (__s64)(TS_LIMB(sum[1]) - quotient * key->prime[1]);
	low |= (__u64)TS_LIMB((__u64)rest) << TS_DIGEST_LIMB_BITS;
	high = (__u64)(rest >> TS_DIGEST_LIMB_BITS) + sum[2] - quotient * key->prime[2];
	for (int i = 0; i < 2; i++) {
		if (high < key->prime[2] || (high == key->prime[2] && low < prime_low))
			continue;
		high -= key->prime[2] + (low < prime_low);
		low = (low - prime_low) & ((1ull << TS_LOW_BITS) - 1);
	}
	cumulative->lo = low | high << TS_LOW_BITS;
	cumulative->hi = (__u32)(high >> (64 - TS_LOW_BITS));
}

/* A connection that is lent. */

/* Whose the connection is. Who finds it his may take it; the programs do so for the time of one frame. */
enum ts_match_owner {
	TS_MATCH_USER = 0,   /* user space's: frames and records go there */
	TS_MATCH_KERNEL = 1, /* lent: the tap program lets frames out that the SVM has produced */
	TS_MATCH_BUSY = 2,   /* the tap program is at it */
};

/* Adds to a word, and is a full barrier; BPF's only ones are atomic operations whose result is used. */
#define TS_ADD_ORDERED(word, add)                                                                                      \
	do {                                                                                                           \
		__typeof__(*(word)) was_ = __sync_fetch_and_add(word, add);                                            \
		__asm__ volatile("" : : "r"(was_));                                                                    \
	} while (0)

/* How far the SVM's stream was, with the cumulative digest up to there. */
struct ts_boundary {
	__u64 digest_lo;
	__u32 digest_hi;
	__u32 seq;
};
TS_ASSERT_SIZE(struct ts_boundary, 16);

#define TS_MATCH_BOUNDARIES 256
/* From so many beyond the PVM's stream on, user space gets the records too: before any is lost here. */
#define TS_MATCH_BOUNDARIES_AHEAD (TS_MATCH_BOUNDARIES * 3 / 4)
/* Boundaries that one frame may pass. */
#define TS_MATCH_STEPS 8

/* A connection. Numbers are the PVM's. Edges and acknowledgements are the client's. */
struct ts_match_flow {
	__u32 owner; /* enum ts_match_owner; atomic */
	/* Fixed while anybody can find the connection. */
	__u32 seq_delta; /* the SVM's numbers minus the PVM's */
	__u32 base;	 /* where both streams start */
	__u32 scale;	 /* of the window */
	/* The owner's. */
	__u32 next; /* end of the PVM's stream; all of it is out */
	__u32 pvm_ack;
	__u32 pvm_edge;
	__u32 tail;		      /* first boundary that may lie beyond next */
	struct ts_residue cumulative; /* of [base, next) */
	__u64 frames;		      /* that the tap program let out */
	__u64 bytes;
	/* The link program's, whoever owns the rest. */
	__u32 head; /* boundaries seen; the latest TS_MATCH_BOUNDARIES are kept. Atomic */
	__u32 svm_end;
	__u32 svm_ack;
	__u32 svm_edge;
	struct ts_boundary boundaries[TS_MATCH_BOUNDARIES];
};
TS_ASSERT_SIZE(struct ts_match_flow, 80 + 16 * TS_MATCH_BOUNDARIES);

/* Key of the map that finds a lent connection. */
struct ts_match_key {
	__u64 flow_id;
	__u32 slot;
	__u32 reserved;
};
TS_ASSERT_SIZE(struct ts_match_key, 16);

#define TS_MATCH_FLOWS_MAX 4096

/* What the programs need of a pairing's key. */
struct ts_match_secret {
	struct ts_flow_id_key flow_id;
	struct ts_append_key append;
};

/*
 * Takes in a record. Returns whether user space must see it: because it isn't plain, because the SVM is so far ahead that
 * boundaries may be lost here, or because the connection is user space's. Entering comes first and asking second, and
 * whoever gives the connection to user space does so before user space looks at what was entered: so one of the two sees
 * it.
 */
TS_INLINE int ts_match_record(struct ts_match_flow *flow, const struct ts_record *record)
{
	__u32 end = record->seq_next - flow->seq_delta;
	struct ts_boundary *boundary = &flow->boundaries[flow->head % TS_MATCH_BOUNDARIES];

	if (!ts_record_is_plain(record) || record->base - flow->seq_delta != flow->base)
		return 1;
	flow->svm_ack = ts_seq_max(flow->svm_ack, record->ack);
	flow->svm_edge = ts_seq_max(flow->svm_edge, ts_window_edge(record->ack, record->window, flow->scale));
	if (!ts_seq_le(end, flow->svm_end)) {
		boundary->seq = end;
		boundary->digest_lo = record->digest_lo;
		boundary->digest_hi = record->digest_hi;
		flow->svm_end = end;
		TS_ADD_ORDERED(&flow->head, 1);
	} else {
		TS_ADD_ORDERED(&flow->head, 0);
	}
	return *(volatile __u32 *)&flow->owner == TS_MATCH_USER ||
	       flow->head - *(volatile __u32 *)&flow->tail > TS_MATCH_BOUNDARIES_AHEAD;
}

/* A segment of the PVM, as far as the rules need it. */
struct ts_match_segment {
	__u32 seq;
	__u32 ack;
	__u32 window;
	__u32 flags; /* TS_TCP_FLAG_* and others */
	__u32 bytes; /* of payload */
};

/* Whether the SVM's stream reached `seq` with this digest. Moves the tail; boundaries before it are passed. */
TS_INLINE int ts_match_boundary(struct ts_match_flow *flow, __u32 seq, const struct ts_residue *digest)
{
	__u32 tail = flow->tail, head = *(volatile __u32 *)&flow->head;

	for (int step = 0; step < TS_MATCH_STEPS; step++) {
		const volatile struct ts_boundary *boundary = &flow->boundaries[tail % TS_MATCH_BOUNDARIES];
		__u32 at;
		int equal;

		if (tail == head)
			return 0;
		at = boundary->seq;
		if (!ts_seq_le(seq, at)) {
			tail++;
			continue;
		}
		equal = at == seq && boundary->digest_lo == digest->lo && boundary->digest_hi == digest->hi;
		flow->tail = tail;
		/* The link program may have written there meanwhile. */
		TS_ADD_ORDERED(&flow->frames, 0);
		return equal && *(volatile __u32 *)&flow->head - tail < TS_MATCH_BOUNDARIES;
	}
	return 0;
}

/*
 * Whether a segment of the PVM may leave as it is; then it is taken into the state. Only for the owner. Any doubt says no:
 * the connection then goes to user space, which knows all the rules. acc: the digest of the payload.
 */
TS_INLINE int ts_match_output(struct ts_match_flow *flow, const struct ts_append_key *key,
			       const struct ts_match_segment *segment, const __u64 *acc)
{
	__u32 edge = ts_window_edge(segment->ack, segment->window, flow->scale);
	struct ts_residue cumulative = flow->cumulative;

	if ((segment->flags & ~TS_TCP_FLAG_PSH) != TS_TCP_FLAG_ACK || segment->seq != flow->next ||
	    segment->bytes > TS_DIGEST_BYTES_MAX)
		return 0;
	if (!ts_ack_rule(segment->ack, flow->svm_ack) || !ts_window_rule(edge, flow->svm_edge))
		return 0;
	if (segment->bytes) {
		ts_append(key, acc, segment->bytes, &cumulative);
		if (!ts_match_boundary(flow, segment->seq + segment->bytes, &cumulative))
			return 0;
		flow->next = segment->seq + segment->bytes;
		flow->cumulative = cumulative;
		flow->bytes += segment->bytes;
	}
	flow->pvm_ack = ts_seq_max(flow->pvm_ack, segment->ack);
	flow->pvm_edge = ts_seq_max(flow->pvm_edge, edge);
	flow->frames++;
	return 1;
}

#undef TS_INLINE
#ifdef __cplusplus
#pragma GCC diagnostic pop
#endif

#endif
