/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* What the benchmark's client program and its driver share. */
#ifndef TWINSTEP_COMPARE_BENCH_H
#define TWINSTEP_COMPARE_BENCH_H

#include <linux/types.h>

#define BENCH_MAGIC 0x74776e72
#define BENCH_NUMBERS 65536
#define BENCH_BUCKET_NS 250
#define BENCH_BUCKETS 65536

/* First bytes of each packet's payload. */
struct bench_tag {
  __u32 magic;  /* BENCH_MAGIC + which twin comes first, 1: the PVM's */
  __u32 number; /* from 0 */
};

struct bench_results {
  __u64 packets;
  __u64 others;                    /* without a tag: handshakes */
  __u64 number_sum;                /* of the packets' numbers: each must come once */
  __u64 timing;                    /* set by the driver: fill `latency` */
  __u32 latency[2][BENCH_BUCKETS]; /* [which twin came first][time / BENCH_BUCKET_NS] */
};

#endif
