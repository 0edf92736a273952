// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "core/result.hpp"
#include "qemu-glue/qmp/client.hpp"

namespace twinstep::qemu {

/// What is known of a running QEMU.
struct QemuFeatures {
  std::string machine_type;  ///< resolved: pc-q35-7.2, where the user said q35
};

/// Asks for what protection needs; an Error names the first command that this QEMU lacks.
Result<QemuFeatures> probe(QmpClient& qmp);

}  // namespace twinstep::qemu
