// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <gtest/gtest.h>
#include <linux/bpf.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <span>

#include "bpf/abi/twinstep_abi.h"
#include "core/compare/digest.hpp"
#include "io/xdp/flow_tables.hpp"
#include "io/xsk/umem.hpp"
#include "packets.hpp"

// After the ABI header, whose types it uses.
#include <twinstep_bpf.skel.h>

namespace twinstep::test {

/// What a program did with one frame.
struct Ran {
  std::uint32_t action = 0;
  Bytes frame;  ///< after the program, without metadata
  std::optional<ts_frame_meta> meta;
};

/// What the tests say of a flow; the rest of its ts_flow_state is zero.
struct Flow {
  std::uint32_t seq_delta = 0;
  std::uint32_t ts_delta = 0;
  std::uint32_t seen = 0;
  std::uint32_t opening_isn = 0;
};

/// The flow of every Tcp of packets.hpp with the default port.
ts_flow_key flow_key(std::uint16_t slot);

/// Loads the programs in a network namespace of the test's own and runs them on single frames (BPF_PROG_TEST_RUN),
/// which come in on the loopback device there. Slot kSlot belongs to that device, its redirect maps lead back to it.
class ProgramTest : public ::testing::Test {
 protected:
  static constexpr std::uint32_t kSlot = 3;
  static constexpr std::uint32_t kOtherSlot = 4;
  static constexpr std::uint16_t kVmId = 77;
  static constexpr std::uint16_t kOtherVmId = 78;
  static constexpr io::FlowBounds kFlowBounds{.settled = 4096, .half_open = 1024};  ///< of each slot
  static constexpr std::uint16_t kNic = 1;
  static constexpr std::uint32_t kEpoch = 5;
  static constexpr std::uint32_t kLoopback = 1;  ///< its ifindex

  void SetUp() override;

  Ran run(const bpf_program* program, const Bytes& frame);
  Ran tap(const Bytes& frame) { return run(skeleton_->progs.ts_tap, frame); }
  Ran uplink(const Bytes& frame) { return run(skeleton_->progs.ts_uplink, frame); }
  Ran link(const Bytes& frame) { return run(skeleton_->progs.ts_link, frame); }

  int match_index_fd() const { return bpf_map__fd(skeleton_->maps.ts_match_index); }
  int match_flows_fd() const { return bpf_map__fd(skeleton_->maps.ts_match_flows); }
  int match_secrets_fd() const { return bpf_map__fd(skeleton_->maps.ts_match_secrets); }
  int lanes_fd() const { return bpf_map__fd(skeleton_->maps.ts_lanes); }

  int tap_fd() const { return bpf_program__fd(skeleton_->progs.ts_tap); }
  int uplink_fd() const { return bpf_program__fd(skeleton_->progs.ts_uplink); }
  int link_fd() const { return bpf_program__fd(skeleton_->progs.ts_link); }

  void set_modes(ts_tap_mode tap, ts_uplink_mode uplink, bool link_open = false,
                 std::uint32_t uplink_ifindex = kLoopback);
  /// Whether the state that the epoch began with is committed.
  void set_epoch(std::uint32_t epoch, bool committed);
  /// The uplink's frames lie in the packet memory.
  void set_zero_copy();
  void set_flow(const Flow& flow, std::uint32_t epoch = kEpoch) { set_flow(flow_key(kSlot), flow, epoch); }
  void set_flow(const ts_flow_key& key, const Flow& flow, std::uint32_t epoch = kEpoch);
  std::optional<ts_flow_state> flow() { return flow(flow_key(kSlot)); }
  std::optional<ts_flow_state> flow(const ts_flow_key& key);
  /// Where it is kept: as a connection, or as a stranger's.
  std::optional<ts_flow_state> settled_flow(const ts_flow_key& key);
  std::optional<ts_flow_state> half_open_flow(const ts_flow_key& key);
  /// The flow outlived a failover.
  void set_translation(const ts_translation& translation) { set_translation(flow_key(kSlot), translation); }
  void set_translation(const ts_flow_key& key, const ts_translation& translation);
  std::optional<ts_translation> translation();
  /// The slot's counter, over all processors.
  std::uint64_t count(ts_counter which);
  void open_tables(const io::FlowBounds& bounds) { ASSERT_TRUE(flows_->open(kSlot, bounds)); }
  /// Another VM of the host, in slot kOtherSlot; frames on the link find it.
  void add_other_standby();
  /// Of all counters, those of a frame's end.
  std::uint64_t count_ends();

  /// A frame as the other host sends it.
  static Bytes link_frame(unsigned type, std::span<const std::byte> body, std::uint32_t epoch = kEpoch,
                          std::uint16_t vm_id = kVmId, std::uint8_t version = TS_ABI_VERSION);

  std::optional<compare::DigestKey> key_;

 private:
  const bpf_map* tables(bool settled) const {
    return settled ? skeleton_->maps.ts_flows : skeleton_->maps.ts_half_open;
  }
  std::optional<ts_flow_state> flow_in(bool settled, const ts_flow_key& key);

  struct Unload {
    void operator()(twinstep_bpf* skeleton) const { twinstep_bpf::destroy(skeleton); }
  };
  std::unique_ptr<io::Umem> umem_;
  std::unique_ptr<twinstep_bpf, Unload> skeleton_;
  std::optional<io::FlowTables> flows_;
  ts_slot_config config_{};
};

}  // namespace twinstep::test
