// SPDX-License-Identifier: Apache-2.0
#include "io/xdp/tap_metadata.hpp"

#include <bpf/bpf.h>
#include <linux/bpf.h>
#include <linux/if_link.h>

#include <array>
#include <cstdint>

#include "bpf/abi/twinstep_abi.h"
#include "io/netlink/netdev.hpp"
#include "io/tap/tap.hpp"
#include "io/unique_fd.hpp"

namespace twinstep::io {
namespace {

constexpr unsigned kMtuBytes = 1500;
constexpr std::int64_t kNotRun = 1;

/// Makes room for metadata, writes into the map's element 0 what came of it, and drops the frame.
UniqueFd load_trial(int map_fd) {
  constexpr auto kMetadataBytes = static_cast<std::int32_t>(sizeof(ts_frame_meta));
  // NOLINTBEGIN(misc-redundant-expression): some of these constants are 0.
  const std::array<bpf_insn, 14> program{{
      {BPF_ALU64 | BPF_MOV | BPF_K, BPF_REG_2, 0, 0, -kMetadataBytes},
      {BPF_JMP | BPF_CALL, 0, 0, 0, BPF_FUNC_xdp_adjust_meta},
      {BPF_STX | BPF_MEM | BPF_DW, BPF_REG_10, BPF_REG_0, -8, 0},
      {BPF_ST | BPF_MEM | BPF_W, BPF_REG_10, 0, -12, 0},
      {BPF_LD | BPF_IMM | BPF_DW, BPF_REG_1, BPF_PSEUDO_MAP_FD, 0, map_fd},
      {},
      {BPF_ALU64 | BPF_MOV | BPF_X, BPF_REG_2, BPF_REG_10, 0, 0},
      {BPF_ALU64 | BPF_ADD | BPF_K, BPF_REG_2, 0, 0, -12},
      {BPF_ALU64 | BPF_MOV | BPF_X, BPF_REG_3, BPF_REG_10, 0, 0},
      {BPF_ALU64 | BPF_ADD | BPF_K, BPF_REG_3, 0, 0, -8},
      {BPF_ALU64 | BPF_MOV | BPF_K, BPF_REG_4, 0, 0, BPF_ANY},
      {BPF_JMP | BPF_CALL, 0, 0, 0, BPF_FUNC_map_update_elem},
      {BPF_ALU64 | BPF_MOV | BPF_K, BPF_REG_0, 0, 0, XDP_DROP},
      {BPF_JMP | BPF_EXIT, 0, 0, 0, 0},
  }};
  // NOLINTEND(misc-redundant-expression)
  return UniqueFd(bpf_prog_load(BPF_PROG_TYPE_XDP, "ts_trial", "GPL", program.data(), program.size(), nullptr));
}

bool try_metadata() {
  const auto tap = Tap::create("ts-trial", kMtuBytes, GuestOffloads::off);
  if (!tap) return false;
  const auto ifindex = device_index(tap->name());
  const UniqueFd map(
      bpf_map_create(BPF_MAP_TYPE_ARRAY, "ts_trial", sizeof(std::uint32_t), sizeof(std::int64_t), 1, nullptr));
  const UniqueFd program(map ? load_trial(map.get()) : UniqueFd{});
  if (!ifindex || !program) return false;
  LIBBPF_OPTS(bpf_link_create_opts, options);
  options.flags = XDP_FLAGS_DRV_MODE;
  const UniqueFd link(bpf_link_create(program.get(), *ifindex, BPF_XDP, &options));
  const std::uint32_t key = 0;
  std::int64_t result = kNotRun;
  bpf_map_update_elem(map.get(), &key, &result, BPF_ANY);
  if (!link || !tap->send_as_guest(Tap::decoy())) return false;
  return bpf_map_lookup_elem(map.get(), &key, &result) == 0 && result == 0;
}

}  // namespace

bool taps_have_metadata() {
  static const bool have = try_metadata();
  return have;
}

}  // namespace twinstep::io
