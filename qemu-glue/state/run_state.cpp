// SPDX-License-Identifier: Apache-2.0
#include "qemu-glue/state/run_state.hpp"

namespace twinstep::qemu {

Result<void> stop(QmpClient& qmp, Milliseconds timeout) {
  return qmp.execute("stop", {}, timeout).map([](const Json&) {});
}

Result<void> cont(QmpClient& qmp, Milliseconds timeout) {
  return qmp.execute("cont", {}, timeout).map([](const Json&) {});
}

}  // namespace twinstep::qemu
