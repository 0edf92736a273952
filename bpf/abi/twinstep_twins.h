/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Frames that are compared as a whole, in any order: which of them meet in the XDP programs, and which in user space
 * (docs/decisions/0028-whole-frames-in-the-kernel.md). Plain C that is C++ too.
 */
#ifndef TWINSTEP_TWINS_H
#define TWINSTEP_TWINS_H

#include "bpf/abi/twinstep_abi.h"
#include "bpf/abi/twinstep_match.h"

#ifdef __cplusplus
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wold-style-cast"
#pragma GCC diagnostic ignored "-Wsign-conversion"
#pragma GCC diagnostic ignored "-Wconversion"
#endif

#define TS_INLINE static inline __attribute__((always_inline))

/* What makes two frames the same, and how many of them there are of one VM alone. */
struct ts_twin {
	__u64 flow_id;
	__u64 digest_lo;
	__u8 digest_hi;
	__u8 kind;     /* enum ts_class */
	__u16 bytes;   /* compared */
	__s32 balance; /* above 0: the SVM's records; below: the PVM's frames, which user space has. 0: the place is free */
};
TS_ASSERT_SIZE(struct ts_twin, 24);

#define TS_TWINS 8
/*
 * Frames of one hash value. Each frame of the PVM takes one off its kind's balance and each record of the SVM adds one, so
 * each record meets one frame: here, or in user space. A frame that finds no room goes to user space all the same; from
 * then on all records go there (`spilled`), as nobody can tell any more which of them it waits for.
 */
struct ts_twins {
	__u32 age; /* of the content; another one's counts for nothing */
	__u32 spilled;
	struct ts_twin twin[TS_TWINS];
};
TS_ASSERT_SIZE(struct ts_twins, 8 + 24 * TS_TWINS);

/* Hash values of a slot. */
#define TS_TWINS_PLACES_BITS 9
#define TS_TWINS_PLACES (1u << TS_TWINS_PLACES_BITS)

/* Whether the programs compare such a frame at all; of a longer one they have no digest. */
TS_INLINE int ts_twin_in_reach(__u32 bytes)
{
	return bytes <= TS_DIGEST_BYTES_MAX;
}

/* A few bytes' digest is these bytes, so all of it is stirred. */
TS_INLINE __u32 ts_twin_hash(const struct ts_twin *twin)
{
	return (__u32)(((twin->digest_lo ^ twin->flow_id) * 0x9e3779b97f4a7c15ull) >> (64 - TS_TWINS_PLACES_BITS));
}

TS_INLINE void ts_twin_of_record(struct ts_twin *twin, const struct ts_record *record)
{
	twin->flow_id = record->flow_id;
	twin->digest_lo = record->digest_lo;
	twin->digest_hi = record->digest_hi;
	twin->kind = record->flags;
	twin->bytes = record->window;
	twin->balance = 0;
}

TS_INLINE int ts_twin_equal(const struct ts_twin *a, const struct ts_twin *b)
{
	return a->flow_id == b->flow_id && a->digest_lo == b->digest_lo && a->digest_hi == b->digest_hi &&
	       a->kind == b->kind && a->bytes == b->bytes;
}

/* The place of the frame's kind, a new one if need be. Nothing: there is no room, or it may not be used any more. */
TS_INLINE struct ts_twin *ts_twins_place(struct ts_twins *twins, __u32 age, const struct ts_twin *sought)
{
	__u32 room = TS_TWINS;

	if (twins->age != age) {
		for (int i = 0; i < TS_TWINS; i++)
			twins->twin[i].balance = 0;
		twins->spilled = 0;
		twins->age = age;
	}
	for (__u32 i = 0; i < TS_TWINS; i++) {
		if (!twins->twin[i].balance)
			room = i;
		else if (ts_twin_equal(&twins->twin[i], sought))
			return &twins->twin[i];
	}
	if (room >= TS_TWINS || twins->spilled)
		return 0;
	twins->twin[room] = *sought;
	return &twins->twin[room];
}

/* The SVM has produced such a frame. Returns whether user space must see its record. */
TS_INLINE int ts_twins_record(struct ts_twins *twins, __u32 age, const struct ts_twin *sought)
{
	struct ts_twin *twin = ts_twins_place(twins, age, sought);

	if (!twin || twins->spilled)
		return 1;
	return twin->balance++ < 0;
}

/* The PVM has. Returns whether the SVM's is there; it is taken. Otherwise the frame waits in user space. */
TS_INLINE int ts_twins_frame(struct ts_twins *twins, __u32 age, const struct ts_twin *sought)
{
	struct ts_twin *twin = ts_twins_place(twins, age, sought);

	if (!twin) {
		twins->spilled = 1;
		return 0;
	}
	if (twins->spilled && twin->balance < 0)
		return 0;
	return twin->balance-- > 0;
}

/*
 * Flows of one lane keep their order: while a frame of it is on its way through user space, later ones follow it there.
 * ts_lanes counts the frames, by slot and lane.
 */
#define TS_LANES 256

TS_INLINE __u32 ts_lane(__u32 slot, __u64 flow_id)
{
	return slot % TS_SLOTS_MAX * TS_LANES + (__u32)(flow_id % TS_LANES);
}

/* Which frames of a numbered sequence have come (RFC 4303, 3.4.3, has the same). The link may double frames and bring them
 * out of order. */
#define TS_SEQUENCE_FRAMES 64
struct ts_sequence {
	__u64 seen; /* bit n: n before the newest; 0: none has come at all */
	__u32 newest;
	__u32 reserved;
};
TS_ASSERT_SIZE(struct ts_sequence, 16);

/*
 * Whether this frame is to be taken: it came for the first time, and not more than TS_SEQUENCE_FRAMES behind the newest.
 * missing: how many fewer have come than were sent, after it.
 */
TS_INLINE int ts_sequence_take(struct ts_sequence *window, __u32 sequence, __s64 *missing)
{
	__u32 ahead = sequence - window->newest, behind = window->newest - sequence;

	if (!window->seen) {
		window->newest = sequence;
		window->seen = 1;
		return 1;
	}
	if ((__s32)ahead > 0) {
		*missing += ahead - 1;
		window->seen = ahead < TS_SEQUENCE_FRAMES ? window->seen << (ahead & (TS_SEQUENCE_FRAMES - 1)) | 1 : 1;
		window->newest = sequence;
		return 1;
	}
	if (behind >= TS_SEQUENCE_FRAMES || window->seen >> behind & 1)
		return 0;
	window->seen |= 1ull << behind;
	--*missing;
	return 1;
}

#undef TS_INLINE
#ifdef __cplusplus
#pragma GCC diagnostic pop
#endif

#endif
