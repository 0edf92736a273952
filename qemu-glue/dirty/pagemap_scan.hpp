// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <linux/ioctl.h>
#include <linux/types.h>

/// What Linux 6.7 added and Debian 12's headers don't have yet: include/uapi/linux/fs.h and userfaultfd.h, described in
/// Documentation/admin-guide/mm/pagemap.rst of the kernel.
namespace twinstep::qemu {

struct PageRegion {
  __u64 start;
  __u64 end;
  __u64 categories;
};
static_assert(sizeof(PageRegion) == 24);

struct PagemapScanArgument {
  __u64 size;
  __u64 flags;
  __u64 start;
  __u64 end;
  __u64 walk_end;
  __u64 vec;
  __u64 vec_len;
  __u64 max_pages;
  __u64 category_inverted;
  __u64 category_mask;
  __u64 category_anyof_mask;
  __u64 return_mask;
};
static_assert(sizeof(PagemapScanArgument) == 96);

inline constexpr unsigned long kPagemapScan = _IOWR('f', 16, PagemapScanArgument);
inline constexpr __u64 kScanWriteProtectMatching = 1U << 0;
inline constexpr __u64 kScanCheckWriteProtectAsync = 1U << 1;
inline constexpr __u64 kPageIsWritten = 1U << 1;

inline constexpr __u64 kFeatureWriteProtectUnpopulated = 1U << 13;
inline constexpr __u64 kFeatureWriteProtectAsync = 1U << 15;

}  // namespace twinstep::qemu
