// SPDX-License-Identifier: Apache-2.0
#include "cli/object.hpp"

namespace twinstep::cli {

Object nic_object() {
  return {"nic",
          {{"show", false, false}, {"list", false, false}},
          "twinstep nic { show | list } [name NAME]\n",
          {"vm"},
          {{"nic", "mac"},
           {"uplink", "uplink_mode", "uplink_attached", "uplink_sockets", "uplink_queues", "uplink_mtu",
            "uplink_other_programs"},
           {"tap", "tap_mode", "tap_sockets", "tap_mtu", "tap_other_programs", "guest_offloads"},
           {"link", "link_mode", "link_attached", "link_sockets", "link_queues", "link_mtu", "link_other_programs"},
           {"frames_in", "frames_released", "frames_held", "umem_free"},
           {"records_in", "records_sent", "records_stale", "record_frames_lost"},
           {"frames_unsent", "inbound_dropped", "window_updates"},
           {"xdp"}}};
}

}  // namespace twinstep::cli
