// SPDX-License-Identifier: Apache-2.0
#include "cli/object.hpp"

namespace twinstep::cli {

Object flow_object() {
  return {"flow",
          {{"show", false, false}, {"list", false, false}},
          "twinstep flow { show | list } [name NAME]\n",
          {"vm"},
          {{"nic", "vm_addr", "vm_port", "peer_addr", "peer_port", "state"},
           {"bytes_matched", "frames_held", "seq_delta", "ts_delta"}}};
}

}  // namespace twinstep::cli
