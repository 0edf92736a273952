// SPDX-License-Identifier: Apache-2.0
#include "cli/object.hpp"

namespace twinstep::cli {

Object nic_object() {
  return {"nic",
          {{"show", false, false}, {"list", false, false}},
          "twinstep nic { show | list } [name NAME]\n",
          {"vm"},
          {{"uplink", "uplink_mode", "tap", "tap_mode", "link", "link_mode"},
           {"frames_in", "frames_released", "frames_held", "umem_free"},
           {"records_in", "records_sent", "records_stale", "record_frames_lost"},
           {"frames_unsent", "inbound_dropped", "window_updates"},
           {"xdp"}}};
}

}  // namespace twinstep::cli
