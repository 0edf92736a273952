// SPDX-License-Identifier: Apache-2.0
#include "program_test.hpp"

#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <net/if.h>
#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <vector>

namespace twinstep::test {
namespace {

template <typename Key, typename Value>
void put(const bpf_map* map, const Key& key, const Value& value) {
  ASSERT_EQ(bpf_map__update_elem(map, &key, sizeof(key), &value, sizeof(value), BPF_ANY), 0) << bpf_map__name(map);
}

/// A slot's own, in a map of tables.
io::UniqueFd table_of(const bpf_map* tables, std::uint32_t slot) {
  std::uint32_t id = 0;
  if (bpf_map__lookup_elem(tables, &slot, sizeof(slot), &id, sizeof(id), 0) != 0) return {};
  return io::UniqueFd(bpf_map_get_fd_by_id(id));
}

}  // namespace

ts_flow_key flow_key(std::uint16_t slot) {
  ts_flow_key key{};
  const std::uint32_t vm = htonl(kVmAddr);
  const std::uint32_t peer = htonl(kClientAddr);
  std::memcpy(key.vm_addr, &vm, sizeof(vm));
  std::memcpy(key.peer_addr, &peer, sizeof(peer));
  key.vm_port_be = htons(kVmPort);
  key.peer_port_be = htons(kClientPort);
  key.slot = slot;
  key.family = 4;
  key.protocol = 6;
  return key;
}

void ProgramTest::SetUp() {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root: CAP_BPF and CAP_NET_ADMIN to load XDP programs";
  ASSERT_EQ(::unshare(CLONE_NEWNET), 0);
  ASSERT_EQ(::if_nametoindex("lo"), kLoopback);
  skeleton_.reset(twinstep_bpf::open_and_load());
  ASSERT_TRUE(skeleton_);
  const Bytes seed = pattern(16, 9);
  key_ = compare::DigestKey::from_seed(std::span<const std::byte, 16>(seed));
  // Any bound socket will do: programs that are only run this way redirect nothing for good.
  constexpr std::array kPools{io::Umem::kRingEntries};
  auto umem = io::Umem::create(kPools);
  ASSERT_TRUE(umem) << umem.error().message;
  umem_ = std::move(*umem);
  const auto& maps = skeleton_->maps;
  put(maps.ts_digest_keys, kSlot, key_->table());
  const bpf_devmap_val device{.ifindex = kLoopback, .bpf_prog = {.fd = -1}};
  for (const auto* sockets : {maps.ts_xsk_tap, maps.ts_xsk_uplink, maps.ts_xsk_link})
    put(sockets, kSlot * TS_QUEUES_MAX, umem_->fd());
  for (const auto* devices : {maps.ts_taps, maps.ts_uplinks}) put(devices, kSlot, device);
  put(maps.ts_ifindex_slot, kLoopback, kSlot);
  ts_mac mac{};
  std::copy(kVmMac.begin(), kVmMac.end(), mac.bytes);
  put(maps.ts_mac_slot, mac, kSlot);
  put(maps.ts_vm_slot, ts_link_target{kVmId, kNic}, kSlot);
  const int mirror = bpf_map_create(BPF_MAP_TYPE_DEVMAP, nullptr, sizeof(std::uint32_t), sizeof(device), 2, nullptr);
  put(maps.ts_mirrors, kSlot, mirror);
  ::close(mirror);
  flows_.emplace(bpf_map__fd(maps.ts_flows), bpf_map__fd(maps.ts_half_open));
  ASSERT_TRUE(flows_->open(kSlot, kFlowBounds));
}

void ProgramTest::add_other_standby() {
  const auto& maps = skeleton_->maps;
  put(maps.ts_digest_keys, kOtherSlot, key_->table());
  put(maps.ts_taps, kOtherSlot, bpf_devmap_val{.ifindex = kLoopback, .bpf_prog = {.fd = -1}});
  put(maps.ts_vm_slot, ts_link_target{kOtherVmId, kNic}, kOtherSlot);
  ts_slot_config config{};
  config.tap_mode = TS_TAP_HOLD;
  config.epoch = kEpoch;
  config.link_open = 1;
  config.vm_id = kOtherVmId;
  config.nic = kNic;
  put(maps.ts_slots, kOtherSlot, config);
  ASSERT_TRUE(flows_->open(kOtherSlot, kFlowBounds));
}

Ran ProgramTest::run(const bpf_program* program, const Bytes& frame) {
  Bytes out(frame.size() + 256);
  xdp_md context_in{};
  context_in.data_end = static_cast<std::uint32_t>(frame.size());
  context_in.ingress_ifindex = kLoopback;
  LIBBPF_OPTS(bpf_test_run_opts, options);
  options.data_in = frame.data();
  options.data_size_in = static_cast<std::uint32_t>(frame.size());
  options.data_out = out.data();
  options.data_size_out = static_cast<std::uint32_t>(out.size());
  options.ctx_in = &context_in;
  options.ctx_size_in = sizeof(context_in);
  const int error = bpf_prog_test_run_opts(bpf_program__fd(program), &options);
  EXPECT_EQ(error, 0) << "BPF_PROG_TEST_RUN of " << bpf_program__name(program) << ": " << std::strerror(-error);

  Ran ran{.action = options.retval, .frame = {}, .meta = {}};
  const std::size_t meta_bytes =
      options.data_size_out == frame.size() + sizeof(ts_frame_meta) ? sizeof(ts_frame_meta) : 0;
  if (meta_bytes != 0) std::memcpy(&ran.meta.emplace(), out.data(), sizeof(ts_frame_meta));
  ran.frame.assign(out.begin() + static_cast<std::ptrdiff_t>(meta_bytes), out.begin() + options.data_size_out);
  return ran;
}

void ProgramTest::set_modes(ts_tap_mode tap, ts_uplink_mode uplink, bool link_open, std::uint32_t uplink_ifindex) {
  config_.tap_mode = tap;
  config_.uplink_mode = uplink;
  config_.epoch = kEpoch;
  config_.link_open = link_open ? 1 : 0;
  config_.vm_id = kVmId;
  config_.nic = kNic;
  config_.uplink_ifindex = uplink_ifindex;
  std::copy(kVmMac.begin(), kVmMac.end(), config_.vm_mac);
  put(skeleton_->maps.ts_slots, kSlot, config_);
}

void ProgramTest::set_epoch(std::uint32_t epoch, bool committed) {
  config_.epoch = epoch;
  config_.flags = committed ? TS_SLOT_COMMITTED : 0;
  put(skeleton_->maps.ts_slots, kSlot, config_);
}

void ProgramTest::set_zero_copy() {
  config_.flags |= TS_SLOT_ZERO_COPY;
  put(skeleton_->maps.ts_slots, kSlot, config_);
}

void ProgramTest::set_flow(const ts_flow_key& key, const Flow& flow, std::uint32_t epoch) {
  ts_flow_state state{};
  state.epoch = epoch;
  state.seq_delta = flow.seq_delta;
  state.ts_delta = flow.ts_delta;
  state.seen = flow.seen;
  state.opening_isn = flow.opening_isn;
  const io::UniqueFd table = table_of(tables(true), key.slot);
  ASSERT_EQ(bpf_map_update_elem(table.get(), &key, &state, BPF_ANY), 0);
}

std::optional<ts_flow_state> ProgramTest::flow(const ts_flow_key& key) {
  const auto settled = settled_flow(key);
  return settled ? settled : half_open_flow(key);
}

std::optional<ts_flow_state> ProgramTest::settled_flow(const ts_flow_key& key) {
  return flow_in(true, key);
}

std::optional<ts_flow_state> ProgramTest::half_open_flow(const ts_flow_key& key) {
  return flow_in(false, key);
}

std::optional<ts_flow_state> ProgramTest::flow_in(bool settled, const ts_flow_key& key) {
  const io::UniqueFd table = table_of(tables(settled), key.slot);
  ts_flow_state state{};
  if (bpf_map_lookup_elem(table.get(), &key, &state) != 0) return {};
  return state;
}

void ProgramTest::set_translation(const ts_flow_key& key, const ts_translation& translation) {
  config_.translates = 1;
  put(skeleton_->maps.ts_slots, kSlot, config_);
  put(skeleton_->maps.ts_translations, key, translation);
}

std::optional<ts_translation> ProgramTest::translation() {
  const auto key = flow_key(kSlot);
  ts_translation value{};
  if (bpf_map__lookup_elem(skeleton_->maps.ts_translations, &key, sizeof(key), &value, sizeof(value), 0) != 0)
    return {};
  return value;
}

std::uint64_t ProgramTest::count(ts_counter which) {
  std::vector<ts_counters> each(static_cast<std::size_t>(libbpf_num_possible_cpus()));
  EXPECT_EQ(bpf_map__lookup_elem(skeleton_->maps.ts_count, &kSlot, sizeof(kSlot), each.data(),
                                 each.size() * sizeof(ts_counters), 0),
            0);
  std::uint64_t sum = 0;
  for (const auto& one : each) sum += one.count[which];
  return sum;
}

std::uint64_t ProgramTest::count_ends() {
  std::uint64_t sum = 0;
  for (int which = 0; which < TS_COUNTERS; ++which)
    if (which != TS_COUNT_LINK_REWRITTEN && which != TS_COUNT_PROBES_OUT) sum += count(static_cast<ts_counter>(which));
  return sum;
}

Bytes ProgramTest::link_frame(unsigned type, std::span<const std::byte> body, std::uint32_t epoch, std::uint16_t vm_id,
                              std::uint8_t version) {
  const ts_link_header header{.abi_version = version,
                              .type = static_cast<std::uint8_t>(type),
                              .vm_id = vm_id,
                              .epoch = epoch,
                              .sequence = 0,
                              .count = 1,
                              .nic = kNic};
  return ethernet(kVmMac, kClientMac, TS_ETHERTYPE, concat({std::as_bytes(std::span(&header, 1)), body}));
}

}  // namespace twinstep::test
