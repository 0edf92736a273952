// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <unordered_map>
#include <vector>

#include "core/compare/frame.hpp"
#include "core/compare/translation.hpp"
#include "core/time.hpp"
#include "daemon/plane/port.hpp"
#include "daemon/plane/tcp_edit.hpp"

namespace twinstep::daemon {

struct FlowHash {
  std::size_t operator()(const ts_flow_key& key) const noexcept;
};
struct FlowEqual {
  bool operator()(const ts_flow_key& a, const ts_flow_key& b) const noexcept;
};
/// By the key of the programs' maps.
template <typename T>
using FlowMap = std::unordered_map<ts_flow_key, T, FlowHash, FlowEqual>;

/// The VM's connections that outlived a failover. The XDP programs translate what they see, from a map of theirs;
/// frames that leave by user space are translated here, from a copy of it. The plane's thread only.
class Translator {
 public:
  explicit Translator(Port& port) : port_(port) {}

  /// Drops connections that were closed a while ago and copies the programs' map anew. The VM stands still. Returns
  /// what is there, used longest ago first; used_ns is the time since then.
  std::vector<compare::FlowTranslation> refresh(Nanos now);
  /// Gives the programs these, used longest ago first, with used_ns as refresh() returns it; of too many the first ones
  /// are left out. The programs' map must be empty.
  void install(std::span<const compare::FlowTranslation> translations, Nanos now);

  /// What changes in a frame that the VM has just sent, on its way out. To be asked for each one, in order: the VM's
  /// SYN ends a translation.
  OutboundShift on_output(const compare::Frame& frame);
  /// What changes in a frame made of the VM's latest one.
  OutboundShift of_made(const compare::Frame& frame) const;

 private:
  Port& port_;
  FlowMap<ts_translation> copy_;
};

}  // namespace twinstep::daemon
