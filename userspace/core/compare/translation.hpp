// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>

#include "bpf/abi/twinstep_abi.h"
#include "core/compare/flow_key.hpp"

namespace twinstep::compare {

/// A connection that outlived a failover.
struct FlowTranslation {
  FlowKey flow;
  ts_translation numbers{};
};

/// How the client's numbers differ from those of the VM that takes over, for one connection (rule 10); nothing: they
/// don't. `before` is how they differed from the lost primary's when `epoch` began, if they did; `state` is what the
/// secondary knows of the connection; `svm_tsval` the SVM's latest TSval in this epoch. A connection that the SVM
/// opened in this epoch has nothing to do with an older one on the same ports.
std::optional<ts_translation> translation_after_failover(const std::optional<ts_translation>& before,
                                                         const ts_flow_state& state, std::uint32_t epoch,
                                                         std::optional<std::uint32_t> svm_tsval);

/// Whether a SYN or SYN-ACK of the VM with this initial number is of another connection than the translation.
bool ends_translation(const ts_translation& translation, std::uint32_t isn);

/// Whether the connection was reset or closed from both sides.
bool is_closed(const ts_translation& translation);

}  // namespace twinstep::compare
