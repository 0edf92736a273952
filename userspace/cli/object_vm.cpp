// SPDX-License-Identifier: Apache-2.0
#include "cli/object.hpp"

namespace twinstep::cli {

Object vm_object() {
  return {"vm",
          {{"show", false, false},
           {"list", false, false},
           {"protect", true, true},
           {"cancel", true, true},
           {"failover", true, true},
           {"mode", true, true, {"colo", "periodic", "auto"}}},
          "twinstep vm { show | list } [name NAME]\n"
          "twinstep vm protect name NAME\n"
          "twinstep vm cancel name NAME\n"
          "twinstep vm failover name NAME\n"
          "twinstep vm mode name NAME { colo | periodic | auto }\n",
          {"id", "name"},
          {{"state", "role", "nics"},
           {"owner", "secondary", "generation", "epoch"},
           {"sync_round", "sync_pages_left", "sync_bytes_per_s", "sync_left_ns", "sync_slowdown_percent"},
           {"protect_attempt", "protects_again_in_ns"},
           {"mode", "mode_effective", "mode_reason"},
           {"checkpoints", "checkpoints_by_cause", "checkpoints_verified"},
           {"pause_ns_p50", "pause_ns_max", "hold_ns", "detect_ns"},
           {"pages_sent", "bytes_sent", "page_streams", "page_send", "page_codec", "dirty_source", "pid"},
           {"last_reason"}}};
}

}  // namespace twinstep::cli
