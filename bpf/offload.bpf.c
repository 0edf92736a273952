/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * On a tap whose guest leaves checksums and segmentation to the host: hands each packet to one end of a veth pair that
 * can do neither. So the kernel does both on the way, and whole frames come out of the other end.
 */
#include <linux/bpf.h>
#include <linux/pkt_cls.h>
#include <bpf/bpf_helpers.h>

/* The veth's ifindex; written before the program runs. */
volatile const __u32 ts_offload_target;

SEC("tc")
int ts_offload(struct __sk_buff *skb)
{
	return (int)bpf_redirect(ts_offload_target, 0);
}

/* On that end: what doesn't come from the tap is the host's own stack talking to itself, and isn't the guest's. */
SEC("tc")
int ts_offload_guard(struct __sk_buff *skb)
{
	return skb->ingress_ifindex ? TC_ACT_OK : TC_ACT_SHOT;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
