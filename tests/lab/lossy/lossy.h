/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* What the lab's lossy program and its loader share. */
#ifndef TWINSTEP_TESTS_LAB_LOSSY_H
#define TWINSTEP_TESTS_LAB_LOSSY_H

#include <linux/types.h>

/* skb->mark of a frame that was dealt with already: a duplicate, or one that comes back from the delay line. */
#define LOSSY_MARK 0x10551
#define LOSSY_PORTS_MAX 8

/* A frame's fate is drawn from a number below this. */
#define LOSSY_DRAWS 10000

struct lossy_counters {
  __u64 frames;
  __u64 dropped;
  __u64 duplicated;
  __u64 delayed;
};

#endif
