/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * The one header that the XDP programs and user space share: what is written in front of a frame, what travels on the
 * link between the hosts in raw Ethernet frames, and the maps' keys and values. Sizes are asserted by both sides.
 * Multi-byte fields are in host order unless the name ends in _be; both hosts are little-endian (asserted at pairing).
 */
#ifndef TWINSTEP_ABI_H
#define TWINSTEP_ABI_H

#include <linux/types.h>

#ifdef __cplusplus
#define TS_ASSERT_SIZE(type, bytes) static_assert(sizeof(type) == (bytes), "ABI size of " #type)
#else
#define TS_ASSERT_SIZE(type, bytes) _Static_assert(sizeof(type) == (bytes), "ABI size of " #type)
#endif

/* Bumped with every incompatible change of this header; the daemons compare it when they meet. */
#define TS_ABI_VERSION 4

/* IEEE 802 local experimental EtherType 1: everything Twinstep sends on the link in raw frames. */
#define TS_ETHERTYPE 0x88B5

/* One VM NIC has one slot; all maps are indexed by it. */
#define TS_SLOTS_MAX 64

/* Receive queues of an uplink or a link. */
#define TS_QUEUES_MAX 16

/* The digest's window in one program run: payload beyond it is digested by user space. */
#define TS_DIGEST_BYTES_MAX 2048
#define TS_DIGEST_WORDS (TS_DIGEST_BYTES_MAX / 4)
#define TS_DIGEST_LIMBS 3
#define TS_DIGEST_LIMB_BITS 23

/* KR69: table[l][j] is limb l (23 bits, lowest first) of 256^(4j) mod p, p a random 69-bit prime. */
struct ts_digest_key {
	__u32 table[TS_DIGEST_LIMBS][TS_DIGEST_WORDS];
};
TS_ASSERT_SIZE(struct ts_digest_key, TS_DIGEST_LIMBS *TS_DIGEST_WORDS * 4);

/* What a frame is to the comparison. */
enum ts_class {
	TS_CLASS_TCP = 1,   /* TCP over IPv4 or IPv6, not fragmented: compared as a byte stream */
	TS_CLASS_DATAGRAM = 2, /* any other IP packet: compared as a whole, order doesn't matter */
	TS_CLASS_ARP = 3,   /* compared as a whole */
	TS_CLASS_OTHER = 4, /* any other Ethernet payload: compared as a whole */
	TS_CLASS_SOFT = 5,  /* multicast chatter: released at once, never causes a checkpoint */
};

/* ts_frame_meta.flags */
#define TS_META_DIGEST_PARTIAL 1 /* payload longer than TS_DIGEST_BYTES_MAX, or not linear: the digest is user space's work */
#define TS_META_TWIN 2 /* the SVM has produced it too: the program has taken the record for this frame */

/*
 * Lies directly in front of the frame that the tap program hands to the AF_XDP socket, which gets both in one piece.
 * acc: raw KR69 accumulators over the compared bytes, [payload_offset, payload_offset + payload_bytes):
 *   TCP: the segment's payload. Datagram: from the upper-layer header (behind IPv4 options, IPv6 extension headers) to the
 *   end by IP's length. ARP: the 28 bytes of the ARP packet. Other and soft: all after the Ethernet header and VLAN tags.
 */
struct ts_frame_meta {
	__u64 acc[TS_DIGEST_LIMBS];
	__u32 epoch;
	__u16 payload_bytes;
	__u8 payload_offset; /* from the start of the frame */
	__u8 class_flags;    /* low 4 bits: enum ts_class; high 4 bits: TS_META_* */
};
TS_ASSERT_SIZE(struct ts_frame_meta, 32);

/* What the tap program does with a frame that the guest sends. */
enum ts_tap_mode {
	TS_TAP_CLOSED = 0, /* drop: the gate is shut and nobody compares */
	TS_TAP_DIRECT = 1, /* solo: to the uplink at once */
	TS_TAP_HOLD = 2,   /* protected, both sides: digest, then to the AF_XDP socket */
};

/* What the uplink program does with a frame for the VM, once its numbers are the VM's (struct ts_translation). */
enum ts_uplink_mode {
	TS_UPLINK_CLOSED = 0, /* drop: this host isn't the VM's voice */
	TS_UPLINK_DIRECT = 1, /* solo: to the tap */
	TS_UPLINK_MIRROR = 2, /* protected primary: to the tap and, encapsulated, to the link */
	TS_UPLINK_GATED = 3,  /* PVM stopped: to the AF_XDP socket, user space keeps it and sends it on */
};

/* Written by user space only; one entry per slot, read by every program. */
struct ts_slot_config {
	__u32 tap_mode;    /* enum ts_tap_mode */
	__u32 uplink_mode; /* enum ts_uplink_mode */
	__u32 epoch;       /* stamped on digests and mirrored frames; mirrored frames of another epoch are dropped */
	__u32 link_open;   /* 1: the secondary delivers mirrored frames to its tap */
	__u8 vm_mac[6];
	__u16 vm_id;       /* the same number on both hosts, agreed at pairing */
	__u8 link_mac[6];      /* this host's end of the link */
	__u8 link_peer_mac[6]; /* the other end */
	__u16 nic;             /* which of the VM's NICs the slot is, from 0 */
	__u16 flags;           /* TS_SLOT_* */
	__u32 uplink_ifindex;  /* the device whose frames are the slot's */
	__u32 translates;      /* 1: ts_translations holds connections of this slot */
	__u64 probe;           /* random: what carries it is a frame of the start-up proof. 0: there are none */
};
TS_ASSERT_SIZE(struct ts_slot_config, 56);

/* ts_slot_config.flags */
#define TS_SLOT_SHARED 1 /* other VMs of this host use the uplink: what is for them goes to user space, not to the wire */
#define TS_SLOT_DEAF 2   /* mirrored frames are dropped: the SVM is about to stop, and is to have taken in what it got */
#define TS_SLOT_FRAGMENTS 4 /* frames may be larger than a page: user space moves them all, to keep their order */
#define TS_SLOT_COMMITTED 8 /* the state that the epoch began with is: the tap program may let output out */
#define TS_SLOT_ZERO_COPY 16 /* the uplink is one: its frames lose the room in front of them in a redirect */

/* Key of the map that finds a slot by the VM's address. */
struct ts_mac {
	__u8 bytes[6];
};
TS_ASSERT_SIZE(struct ts_mac, 6);

/* What travels in a frame of TS_ETHERTYPE, after the Ethernet header. */
enum ts_link_type {
	TS_LINK_MIRROR = 1,     /* an inbound frame of the client follows, whole */
	TS_LINK_RECORDS = 2,    /* count records of the SVM's output follow */
	TS_LINK_FLOW_DELTA = 3, /* one struct ts_flow_delta follows */
	TS_LINK_PROBE = 4,      /* a probe's frame follows, whole: the answer to a mirrored one */
	TS_LINK_TYPES
};

struct ts_link_header {
	__u8 abi_version; /* TS_ABI_VERSION */
	__u8 type;        /* enum ts_link_type */
	__u16 vm_id;
	__u32 epoch;
	__u32 sequence; /* of this type from this sender, from 0: gaps are counted */
	__u16 count;    /* records in the frame; 1 for the others */
	__u16 nic;      /* of the VM, from 0 */
};
TS_ASSERT_SIZE(struct ts_link_header, 16);

/* Whose a frame on the link is: the key of the map that finds the slot. */
struct ts_link_target {
	__u16 vm_id;
	__u16 nic;
};
TS_ASSERT_SIZE(struct ts_link_target, 4);

#define TS_LINK_OVERHEAD_BYTES (14 + 16) /* outer Ethernet header and ts_link_header */

/* Which way the program that sees a frame of the start-up proof sends it. */
enum ts_probe_path {
	TS_PROBE_SOCKET = 1,     /* to the AF_XDP socket */
	TS_PROBE_TAP = 2,        /* to the tap, as a solo VM's input */
	TS_PROBE_MIRROR_TAP = 3, /* to the tap, as a protected VM's input */
	TS_PROBE_LINK = 4,       /* encapsulated to the link, as the mirrored copy of that */
	TS_PROBE_UPLINK = 5,     /* to the uplink, whose program counts and drops it */
};

/*
 * A frame of the start-up proof: Ethernet header with the VM's addresses and TS_ETHERTYPE, this, zeros. Programs take it
 * for one only if its nonce is that of the slot, which no guest and no client knows; else it is a frame like any other.
 */
struct ts_probe {
	__u64 nonce; /* ts_slot_config.probe */
	__u32 path;  /* enum ts_probe_path */
	__u32 sequence;
	__u32 slot; /* of the sender */
	__u32 reserved;
};
TS_ASSERT_SIZE(struct ts_probe, 24);

/* ts_flow_key.vlan: the tag is a provider's (802.1ad) */
#define TS_VLAN_SERVICE 0x1000

/*
 * A flow seen from the VM, addresses and ports in network order, what isn't there zero.
 * TCP: addresses and ports. Other IP packets: addresses, and of a fragment its offset and TS_FRAGMENT_MORE in
 * peer_port_be. Without IP: MAC addresses, and the EtherType in peer_port_be.
 */
struct ts_flow_key {
	__u8 vm_addr[16]; /* IPv4 in the first 4 bytes */
	__u8 peer_addr[16];
	__u16 vm_port_be;
	__u16 peer_port_be;
	__u16 vlan[2]; /* the VLANs of the frame's first two tags, outer first, in host order; tags of VLAN 0 left out */
	__u16 slot;
	__u8 family;   /* 4, 6 or 0 */
	__u8 protocol; /* IP's */
};
TS_ASSERT_SIZE(struct ts_flow_key, 44);

/* The key of ts_flow_id(): random numbers, drawn anew for each pairing. */
#define TS_FLOW_ID_WORDS 11
#define TS_FLOW_ID_LAST_MASK 0xffff0000 /* leaves out the slot, which is each host's own */
struct ts_flow_id_key {
	__u64 factor[2][TS_FLOW_ID_WORDS + 1];
};
TS_ASSERT_SIZE(struct ts_flow_id_key, 2 * (TS_FLOW_ID_WORDS + 1) * 8);

/* ts_flow_state.seen */
#define TS_SEEN_ACK 1     /* client_ack is valid */
#define TS_SEEN_TSECR 2   /* client_tsecr is valid */
#define TS_SEEN_OPENED 4  /* opening_isn is valid: the SVM opened the connection in this epoch */
#define TS_SEEN_OPENING 8 /* seq_delta isn't known yet */
#define TS_SEEN_DIALLED 16 /* the SVM itself dialled: its first segment was a SYN, not a SYN-ACK */
#define TS_SEEN_FAST_OPEN 32 /* the client's SYN carried data */

/*
 * What the secondary knows of a connection in one epoch (maps ts_flows and ts_half_open, LRU). Differences are SVM minus PVM, modulo 2^32:
 * ack and SACK of mirrored frames += seq_delta, TSecr += ts_delta. They count only if epoch equals the slot's: a
 * checkpoint makes them void all at once.
 * TS_LINK_FLOW_DELTA may be lost, so the secondary also works seq_delta out itself: the SVM's SYN or SYN-ACK sets
 * opening_isn and TS_SEEN_OPENING, and the client's first ACK after a SYN-ACK, or its SYN-ACK after a SYN, says the PVM's
 * initial number + 1. No later number can come first: what the PVM sends next leaves only when the SVM has sent it too,
 * which takes that very ACK. With data in a SYN (TCP Fast Open, RFC 7413) that isn't so, and only what is told counts.
 * Only the VM ends an old connection on the same ports, by a SYN or SYN-ACK with another initial number: a client's SYN
 * may be a late duplicate, or forged, and the VM then refuses it.
 */
struct ts_flow_state {
	__u32 epoch;
	__u32 seq_delta;
	__u32 ts_delta;
	__u32 client_ack;   /* the latest ack number the client sent, in the PVM's numbering */
	__u32 client_tsecr; /* the latest TSecr the client sent: the latest PVM TSval it has surely seen */
	__u32 seen;         /* TS_SEEN_* */
	__u32 opening_isn;  /* the SVM's initial number in its latest SYN or SYN-ACK */
	__u32 reserved;
};
TS_ASSERT_SIZE(struct ts_flow_state, 32);

/* ts_translation.flags */
#define TS_TRANSLATION_ISN 1         /* vm_isn is valid */
#define TS_TRANSLATION_OPENING 2     /* seq_delta isn't known yet; the client's first ACK says it, as above */
#define TS_TRANSLATION_DIALLED 4     /* as TS_SEEN_DIALLED */
#define TS_TRANSLATION_VM_FIN 8      /* the VM has sent its FIN */
#define TS_TRANSLATION_CLIENT_FIN 16 /* the client has */
#define TS_TRANSLATION_RESET 32      /* the latest segment, either way, was a RST */

/*
 * A connection whose numbers the client knows otherwise than the VM, because it outlived a failover (map ts_translations).
 * Lives as long as the connection, through checkpoints, protections and further failovers.
 * Inbound, before anything else sees the frame: ack and SACK += seq_delta, TSecr -= ts_offset.
 * Outbound, last of all: seq -= seq_delta, TSval += ts_offset.
 * User space alone adds entries. A SYN or SYN-ACK of the VM with a number other than vm_isn removes its connection's.
 */
struct ts_translation {
	__u64 used_ns;   /* of the latest segment, by bpf_ktime_get_coarse_ns */
	__u32 seq_delta; /* the VM's numbers minus the client's, modulo 2^32 */
	__u32 ts_offset; /* the client's TSval minus the VM's */
	__u32 vm_isn;    /* the VM's initial number */
	__u32 flags;     /* TS_TRANSLATION_* */
};
TS_ASSERT_SIZE(struct ts_translation, 24);

#define TS_TRANSLATIONS_MAX 16384

/* Body of TS_LINK_FLOW_DELTA; the link program enters it into ts_flows before any later frame is delivered. */
struct ts_flow_delta {
	struct ts_flow_key key; /* slot is filled in by the receiver */
	__u32 seq_delta;
	__u32 ts_delta;
	__u32 svm_isn; /* of the connection that is meant */
	__u32 reserved;
};
TS_ASSERT_SIZE(struct ts_flow_delta, 60);

/* struct ts_record.type */
enum ts_record_type {
	TS_RECORD_TCP = 1,
	TS_RECORD_WHOLE = 2, /* datagram, ARP, other */
	TS_RECORD_KEPT = 3,  /* never on the link: the link program has taken in a whole frame's record, nobody else needs it */
};

/* struct ts_record.flags of a TCP record */
#define TS_RECORD_SYN 1
#define TS_RECORD_FIN 2 /* the stream ends at seq_next - 1, the FIN's own number */
#define TS_RECORD_RST 4
#define TS_RECORD_ACK 8    /* ack and window are valid */
#define TS_RECORD_TSVAL 16 /* tsval is valid */
#define TS_RECORD_BASE 32  /* digest covers [base, seq_next); without it nothing of the stream is known yet */

/*
 * One of the SVM's output frames, told to the primary. TCP records are cumulative: they state what the SVM's stream is up
 * to seq_next, so a lost record heals with the flow's next one. Of a whole frame flow_id, digest, window and flags count.
 */
struct ts_record {
	__u64 flow_id;   /* ts_flow_id() of the frame's ts_flow_key */
	__u64 digest_lo; /* KR69 digest, reduced mod p. TCP: cumulative (core/compare/digest.hpp); SYN: of its options */
	__u32 seq_next;  /* end of the contiguous stream (SYN and FIN count one) */
	__u32 base;      /* first sequence number the digest covers; SYN: the initial sequence number */
	__u32 ack;
	__u32 tsval;
	__u16 window;    /* TCP: raw window field. Whole: compared bytes */
	__u8 digest_hi;
	__u8 type;       /* enum ts_record_type */
	__u8 flags;      /* TCP: TS_RECORD_*. Whole: enum ts_class */
	__u8 reserved[3];
};
TS_ASSERT_SIZE(struct ts_record, 40);

/* Counters per slot; every frame of the VM that a program sees ends in exactly one of them. */
enum ts_counter {
	TS_COUNT_TAP_HELD,         /* to the AF_XDP socket */
	TS_COUNT_TAP_DIRECT,       /* to the uplink */
	TS_COUNT_TAP_LOCAL,        /* to the AF_XDP socket: other VMs of this host may be meant */
	TS_COUNT_TAP_MATCHED,      /* to the uplink: the SVM has produced it too */
	TS_COUNT_TAP_TWIN,         /* likewise, compared as a whole */
	TS_COUNT_TAP_CLOSED,       /* dropped by mode */
	TS_COUNT_TAP_ERROR,        /* could not be parsed, prefixed or redirected: dropped */
	TS_COUNT_UPLINK_TAP,       /* to the tap */
	TS_COUNT_UPLINK_MIRRORED,  /* to the tap and the link */
	TS_COUNT_UPLINK_GATED,     /* to the AF_XDP socket */
	TS_COUNT_UPLINK_CLOSED,    /* dropped by mode */
	TS_COUNT_UPLINK_ERROR,
	TS_COUNT_LINK_DELIVERED,   /* mirrored frame to the tap */
	TS_COUNT_LINK_REWRITTEN,   /* of those, rewritten (counted in addition) */
	TS_COUNT_LINK_STALE,       /* mirrored frame of another epoch, or not open, or records that came before: dropped */
	TS_COUNT_LINK_RECORDS,     /* record frame to the AF_XDP socket */
	TS_COUNT_LINK_MATCHED,     /* record frame that the program has taken in as a whole: nobody else needs it */
	TS_COUNT_LINK_DELTAS,      /* flow difference entered */
	TS_COUNT_LINK_ERROR,
	TS_COUNT_PROBES,           /* frame of the start-up proof, sent the way it asks for */
	TS_COUNT_PROBES_OUT,       /* of those, dropped on the uplink's way out (counted in addition) */
	TS_COUNTERS,
};

struct ts_counters {
	__u64 count[TS_COUNTERS];
};

#endif
