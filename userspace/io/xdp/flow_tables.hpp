// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>
#include <optional>

#include "bpf/abi/twinstep_abi.h"
#include "core/result.hpp"
#include "io/unique_fd.hpp"

namespace twinstep::io {

/// How many connections of one VM a secondary's programs know at the same time. Where there are more, those used
/// longest ago are forgotten. Each costs about 160 bytes of the kernel's memory, from open() on.
struct FlowBounds {
  std::uint32_t settled = 0;
  std::uint32_t half_open = 0;  ///< of which the VM said only SYN-ACK or RST
};

/// What a secondary's programs know of connections (struct ts_flow_state): tables of its own for each slot, so that no
/// VM can push another's out. Calls for different slots may come from different threads.
class FlowTables {
 public:
  /// Of the programs: the maps of tables by slot. Both must outlive the object.
  FlowTables(int settled_map, int half_open_map) : settled_map_(settled_map), half_open_map_(half_open_map) {}

  /// Gives the slot empty tables; what it had is forgotten. An Error where the kernel has no memory for them.
  Result<void> open(std::uint32_t slot, const FlowBounds& bounds);
  /// Takes the slot's tables away and frees their memory.
  void close(std::uint32_t slot);
  /// Nothing: not known.
  std::optional<ts_flow_state> find(const ts_flow_key& key) const;

 private:
  struct Tables {
    UniqueFd settled, half_open;
  };
  int settled_map_;
  int half_open_map_;
  std::array<Tables, TS_SLOTS_MAX> slots_;
};

}  // namespace twinstep::io
