// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* XDP programs of a user of the host's: they count what they let pass. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

__u64 passed;

SEC("xdp")
int user_counter(struct xdp_md *ctx)
{
	__sync_fetch_and_add(&passed, 1);
	return XDP_PASS;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
