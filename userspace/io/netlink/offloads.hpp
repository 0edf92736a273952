// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "core/result.hpp"

namespace twinstep::io {

/// Makes a device send nothing but finished frames: every feature with which it takes work off the kernel when it sends
/// (ethtool -k: those named tx-...) is turned off, so the kernel fills in checksums and VLAN tags and segments before
/// the frame reaches the device. An Error if the device insists on checksums or segmentation.
Result<void> turn_send_offloads_off(const std::string& device);

/// Makes a device hand over received frames with their VLAN tags inside, where XDP programs look for them (ethtool -K:
/// rxvlan, and rx-vlan-stag-hw-parse). An Error if the device insists on taking them out.
Result<void> leave_vlan_tags_in_frames(const std::string& device);

}  // namespace twinstep::io
