// SPDX-License-Identifier: Apache-2.0
#include "daemon/plane/uplink_check.hpp"

#include <vector>

#include "io/netlink/device_kind.hpp"
#include "io/netlink/netdev.hpp"
#include "io/netlink/offloads.hpp"

namespace twinstep::daemon {
namespace {

constexpr const char* kBond = "bond";
constexpr const char* kBridge = "bridge";
constexpr const char* kTeam = "team";
constexpr const char* kVlan = "vlan";

bool chooses_among_members(const std::string& kind) {
  return kind == kBond || kind == kTeam;
}

/// A bond hands on the queue's number of the member, where nobody reads.
Result<void> check_queues(const std::string& bond, const std::string& member) {
  const auto queues = io::device_rx_queues(member);
  if (!queues) return tl::unexpected(queues.error());
  if (*queues == 1) return {};
  return fail(member + " of the uplink " + bond + " spreads frames over " + std::to_string(*queues) +
              " queues and Twinstep reads one of a bond; run: ethtool -L " + member + " combined 1");
}

}  // namespace

Result<void> prepare_uplink(const std::string& uplink) {
  const auto kind = io::device_kind(uplink);
  if (!kind) return tl::unexpected(kind.error());
  if (chooses_among_members(kind->master_kind))
    return fail("the uplink " + uplink + " is a member of " + kind->master + ", a " + kind->master_kind +
                " that decides by which member frames come and go; write: uplink = \"" + kind->master + "\"");
  // The tag that it is there for is none of the VM's.
  if (kind->kind == kVlan) return {};
  std::vector<std::string> devices{uplink};
  if (chooses_among_members(kind->kind) || kind->kind == kBridge) {
    const auto members = io::device_members(uplink);
    devices.insert(devices.end(), members.begin(), members.end());
  }
  for (const auto& device : devices) {
    if (auto done = io::leave_vlan_tags_in_frames(device); !done) return done;
    if (device == uplink || kind->kind == kBridge) continue;
    if (auto done = check_queues(uplink, device); !done) return done;
  }
  return {};
}

Result<bool> runs_natively(const std::string& uplink) {
  return io::device_kind(uplink).map([](const io::DeviceKind& kind) { return !chooses_among_members(kind.kind); });
}

}  // namespace twinstep::daemon
