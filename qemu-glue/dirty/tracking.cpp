// SPDX-License-Identifier: Apache-2.0
#include "qemu-glue/dirty/tracking.hpp"

#include <algorithm>
#include <utility>

#include "qemu-glue/dirty/soft_dirty_source.hpp"
#include "qemu-glue/dirty/uffd_dirty_source.hpp"

namespace twinstep::qemu {

const char* to_string(DirtyTracking tracking) {
  switch (tracking) {
    case DirtyTracking::write_protection:
      return "pagemap-scan";
    case DirtyTracking::soft_dirty:
      return "soft-dirty";
  }
  return "unknown";
}

Result<DirtyTracking> probe_dirty_tracking() {
  const auto protection = check_kernel_for_write_protection();
  if (protection) return DirtyTracking::write_protection;
  const auto soft = check_kernel_for_soft_dirty();
  if (soft) return DirtyTracking::soft_dirty;
  return fail("this kernel cannot tell which memory a VM writes (" + protection.error().message + "; " +
              soft.error().message + "): use Linux 6.7 or newer");
}

Result<bool> uses_direct_io(QmpClient& qmp, Milliseconds timeout) {
  const auto nodes = qmp.execute("query-named-block-nodes", {{"flat", true}}, timeout);
  if (!nodes) return tl::unexpected(nodes.error());
  return std::any_of(nodes->begin(), nodes->end(),
                     [](const Json& node) { return node.contains("cache") && node["cache"].value("direct", false); });
}

Result<std::unique_ptr<memory::DirtySource>> watch_ram(DirtyTracking tracking, pid_t pid,
                                                       std::span<const RemoteRange> ram, bool direct_io) {
  if (tracking == DirtyTracking::soft_dirty) return SoftDirtySource::create(pid, ram);
  return UffdDirtySource::create(pid, ram, !direct_io);
}

}  // namespace twinstep::qemu
