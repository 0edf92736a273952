// SPDX-License-Identifier: Apache-2.0
#include "cli/object.hpp"

namespace twinstep::cli {

Object checkpoint_object() {
  return {"checkpoint",
          {{"show", false, false}, {"list", false, false}},
          "twinstep checkpoint { show | list } [name NAME]\n",
          {"epoch", "vm"},
          {{"cause", "pause_ns"}, {"pages_dirty", "pages_sent", "bytes_sent"}, {"commit_ns", "apply_ns"}, {"steps"}}};
}

}  // namespace twinstep::cli
