/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * On the egress of a port of the lab's switch or wire: some frames are dropped, some sent twice, some handed to the delay
 * line, which sends them later, behind younger ones. Which is drawn from the seed and the frame's number. The kernel may
 * have merged segments of one flow into one frame here (GRO); then they share their fate.
 */
#include <linux/bpf.h>
#include <linux/pkt_cls.h>
#include <bpf/bpf_helpers.h>

#include "tests/lab/lossy/lossy.h"

/* Set before loading: the seed, and how many of LOSSY_DRAWS draws mean what. */
const volatile __u64 seed;
const volatile __u32 drop;
const volatile __u32 duplicate;
const volatile __u32 delay;

/* The delay line's device for each port, by ifindex. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, LOSSY_PORTS_MAX);
	__type(key, __u32);
	__type(value, __u32);
} delay_devices SEC(".maps");

struct lossy_counters counters;

/* SplitMix64's output function. */
static __always_inline __u64 mix(__u64 x)
{
	x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9;
	x = (x ^ (x >> 27)) * 0x94d049bb133111eb;
	return x ^ (x >> 31);
}

SEC("tc")
int lossy(struct __sk_buff *skb)
{
	__u32 port = skb->ifindex;
	__u32 *delay_device;
	__u32 draw;

	if (skb->mark == LOSSY_MARK)
		return TC_ACT_OK;
	draw = mix(seed + (__sync_fetch_and_add(&counters.frames, 1) + 1) * 0x9e3779b97f4a7c15) % LOSSY_DRAWS;
	if (draw < drop) {
		__sync_fetch_and_add(&counters.dropped, 1);
		return TC_ACT_SHOT;
	}
	draw -= drop;
	if (draw < duplicate) {
		__sync_fetch_and_add(&counters.duplicated, 1);
		skb->mark = LOSSY_MARK;
		bpf_clone_redirect(skb, port, 0);
		return TC_ACT_OK;
	}
	draw -= duplicate;
	delay_device = bpf_map_lookup_elem(&delay_devices, &port);
	if (draw >= delay || !delay_device)
		return TC_ACT_OK;
	__sync_fetch_and_add(&counters.delayed, 1);
	return bpf_redirect(*delay_device, 0);
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
