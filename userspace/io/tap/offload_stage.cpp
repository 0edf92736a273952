// SPDX-License-Identifier: Apache-2.0
#include "io/tap/offload_stage.hpp"

#include <bpf/libbpf.h>
#include <net/if.h>
#include <twinstep_offload.skel.h>

#include <cerrno>
#include <memory>
#include <utility>

#include "io/netlink/netdev.hpp"
#include "io/netlink/offloads.hpp"
#include "io/os_error.hpp"

namespace twinstep::io {
namespace {

/// Two VLAN tags, which are part of the frame by the time it leaves the pair; a device allows for one by itself.
constexpr unsigned kTagBytes = 4;
constexpr std::size_t kTapNameCharsMax = IFNAMSIZ - 1 - 2;

struct SkeletonDeleter {
  void operator()(twinstep_offload* skeleton) const { twinstep_offload::destroy(skeleton); }
};
using Skeleton = std::unique_ptr<twinstep_offload, SkeletonDeleter>;

Result<void> attach(const bpf_program* program, const std::string& device, int ifindex, bpf_tc_attach_point point) {
  LIBBPF_OPTS(bpf_tc_hook, hook);
  hook.ifindex = ifindex;
  hook.attach_point = point;
  // Another of tc's hooks may be there already; then this one joins it.
  if (const int error = bpf_tc_hook_create(&hook); error != 0 && error != -EEXIST)
    return fail_os("cannot prepare " + device + " for a tc program (does the kernel have clsact?)", -error);
  LIBBPF_OPTS(bpf_tc_opts, options);
  options.prog_fd = bpf_program__fd(program);
  if (const int error = bpf_tc_attach(&hook, &options); error != 0)
    return fail_os("cannot attach a tc program to " + device, -error);
  return {};
}

}  // namespace

Result<OffloadStage> OffloadStage::create(const std::string& tap, unsigned mtu_bytes) {
  if (tap.size() > kTapNameCharsMax)
    return fail("the tap's name " + tap + " must have at most " + std::to_string(kTapNameCharsMax) + " characters");
  auto pair = VethPair::create(tap + "-i", tap + "-o", mtu_bytes + kTagBytes);
  if (!pair) return tl::unexpected(pair.error());
  const auto tap_index = device_index(tap);
  if (!tap_index) return tl::unexpected(tap_index.error());
  const auto in_index = device_index(pair->name());
  if (!in_index) return tl::unexpected(in_index.error());

  Skeleton skeleton(twinstep_offload::open());
  if (!skeleton) return fail_os("cannot open the tc program");
  skeleton->rodata->ts_offload_target = static_cast<std::uint32_t>(*in_index);
  if (const int error = twinstep_offload::load(skeleton.get()); error != 0)
    return fail_os("cannot load the tc program", -error);

  const auto ready =
      turn_send_offloads_off(pair->name())
          .and_then([&] { return attach(skeleton->progs.ts_offload_guard, pair->name(), *in_index, BPF_TC_EGRESS); })
          .and_then([&] { return attach(skeleton->progs.ts_offload, tap, *tap_index, BPF_TC_INGRESS); })
          .and_then([&] {
            turn_ipv6_off(pair->name());
            turn_ipv6_off(pair->peer_name());
            return set_device_up(pair->name());
          })
          .and_then([&] { return set_device_up(pair->peer_name()); });
  if (!ready) return tl::unexpected(ready.error());
  // The devices keep the programs from here on.
  return OffloadStage(std::move(*pair));
}

}  // namespace twinstep::io
