// SPDX-License-Identifier: Apache-2.0
#include "cli/object.hpp"

namespace twinstep::cli {

Object vm_object() {
  return {"vm",
          {{"show", false, false}, {"list", false, false}, {"protect", true, true}, {"failover", true, true}},
          "twinstep vm { show | list } [name NAME]\n"
          "twinstep vm protect name NAME\n"
          "twinstep vm failover name NAME\n",
          {"id", "name"},
          {{"state", "role"},
           {"owner", "secondary", "generation", "epoch"},
           {"checkpoints", "checkpoints_by_cause"},
           {"pause_ns_p50", "pause_ns_max", "hold_ns", "detect_ns"},
           {"pages_sent", "bytes_sent", "pid"},
           {"last_reason"}}};
}

}  // namespace twinstep::cli
