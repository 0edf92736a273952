/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* The packet plane in the kernel: one program for each device that a VM's frames pass. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#include "bpf/tap.h"
#include "bpf/uplink.h"
#include "bpf/link.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";
