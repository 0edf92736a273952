// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "core/result.hpp"
#include "qemu-glue/qmp/client.hpp"

namespace twinstep::qemu {

/// Stops the vCPUs and waits for the requests under way. In a checkpoint: the SVM first, then the PVM, or a guest under
/// TCG sees its clock drift.
Result<void> stop(QmpClient& qmp, Milliseconds timeout);
/// Lets the vCPUs run. After a checkpoint: the PVM first, then the SVM.
Result<void> cont(QmpClient& qmp, Milliseconds timeout);

}  // namespace twinstep::qemu
