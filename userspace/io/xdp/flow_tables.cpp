// SPDX-License-Identifier: Apache-2.0
#include "io/xdp/flow_tables.hpp"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include <algorithm>
#include <string>
#include <utility>

#include "io/os_error.hpp"

namespace twinstep::io {
namespace {

/// The kernel's LRU hands each processor as many unused entries in advance (LOCAL_FREE_TARGET in bpf_lru_list.c): they
/// must not count as used.
constexpr std::uint32_t kUnusedPerProcessor = 128;

Result<UniqueFd> make_table(const char* name, std::uint32_t entries) {
  const auto processors = static_cast<std::uint32_t>(std::max(libbpf_num_possible_cpus(), 1));
  UniqueFd table(bpf_map_create(BPF_MAP_TYPE_LRU_HASH, name, sizeof(ts_flow_key), sizeof(ts_flow_state),
                                entries + kUnusedPerProcessor * processors, nullptr));
  if (!table)
    return fail_os("cannot make a table of " + std::to_string(entries) +
                   " connections (is there memory for it? see limits.flows_max)");
  return table;
}

Result<void> enter(int map, std::uint32_t slot, const UniqueFd& table) {
  const int fd = table.get();
  if (bpf_map_update_elem(map, &slot, &fd, BPF_ANY) != 0) return fail_os("cannot give the programs a VM's connections");
  return {};
}

std::optional<ts_flow_state> find_in(const UniqueFd& table, const ts_flow_key& key) {
  ts_flow_state state{};
  if (!table || bpf_map_lookup_elem(table.get(), &key, &state) != 0) return std::nullopt;
  return state;
}

}  // namespace

Result<void> FlowTables::open(std::uint32_t slot, const FlowBounds& bounds) {
  auto settled = make_table("ts_flows", bounds.settled);
  if (!settled) return tl::unexpected(settled.error());
  auto half_open = make_table("ts_half_open", bounds.half_open);
  if (!half_open) return tl::unexpected(half_open.error());
  slots_.at(slot) = {std::move(*settled), std::move(*half_open)};
  return enter(settled_map_, slot, slots_.at(slot).settled).and_then([&] {
    return enter(half_open_map_, slot, slots_.at(slot).half_open);
  });
}

void FlowTables::close(std::uint32_t slot) {
  for (const int map : {settled_map_, half_open_map_}) bpf_map_delete_elem(map, &slot);
  slots_.at(slot) = {};
}

std::optional<ts_flow_state> FlowTables::find(const ts_flow_key& key) const {
  const Tables& tables = slots_.at(key.slot);
  const auto settled = find_in(tables.settled, key);
  return settled ? settled : find_in(tables.half_open, key);
}

}  // namespace twinstep::io
