// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "core/compare/comparer.hpp"
#include "core/compare/svm_tracker.hpp"
#include "core/compare/translation.hpp"
#include "core/result.hpp"
#include "core/time.hpp"
#include "io/netlink/netdev.hpp"
#include "io/tap/tap.hpp"
#include "io/xdp/programs.hpp"
#include "io/xsk/xsk_socket.hpp"

namespace twinstep::daemon {

struct PlaneConfig {
  std::uint32_t slot = 0;  ///< in the fabric
  std::string uplink;      ///< device toward the clients; the link's MTU must exceed its by two VLAN tags and
                           ///< TS_LINK_OVERHEAD_BYTES
  io::MacAddress vm_mac{};
  io::MacAddress link_peer_mac{};
  std::uint16_t vm_id = 0;
  std::uint16_t nic = 0;  ///< which of the VM's NICs, from 0
  compare::Limits limits{};
  compare::SvmTracker::Limits tracker_limits{};
  std::size_t replay_frames_max = 512;    ///< the SVM's latest output, kept for a failover
  std::size_t inbound_frames_max = 4096;  ///< clients' frames kept while the PVM stands still; more are dropped
  bool busy_poll = false;                 ///< the thread never sleeps, and does the drivers' work on what it receives
};

/// Where a VM's connections stand when an epoch begins: what the secondary has to know of them beside the VM's state.
struct EpochFlows {
  std::vector<compare::FlowBase> bases;
  std::vector<compare::FlowTranslation> translations;  ///< see Translator::refresh
};

/// Called on the plane's thread, at most once per epoch, and once more if it was Cause::output; passes the word on and
/// calls nothing of the plane.
using OnDiverged = std::function<void(std::uint32_t epoch, const compare::Diverged&)>;

/// What a failover did.
struct FailoverStats {
  std::size_t flows = 0;             ///< TCP connections that go on here
  std::size_t flows_rewritten = 0;   ///< of those, with numbers or timestamps that differ
  std::size_t flows_renumbered = 0;  ///< of those, with sequence numbers that do
  std::size_t frames_replayed = 0;
};

struct PlaneStats {
  compare::Stats compare;
  ts_counters xdp{};
  io::XskSocket::Losses tap_losses, uplink_losses, link_losses;
  std::uint64_t frames_unsent = 0;    ///< the device took no more
  std::uint64_t inbound_dropped = 0;  ///< beyond inbound_frames_max, or group-addressed and not taken in time
  std::uint64_t records_sent = 0;
  std::uint64_t record_frames_lost = 0;  ///< gaps in the sequence of the other host's record frames
  std::size_t umem_free = 0;             ///< chunks
  std::size_t replay_frames = 0;         ///< in the ring now
};

/// How a device is, as the kernel says it now. 0: it doesn't say.
struct DeviceState {
  unsigned mtu_bytes = 0;
  bool zero_copy = false;
  std::vector<std::string> other_programs;  ///< XDP programs that aren't Twinstep's, as in "xdp_pass (id 12)"
};

/// For the operator: which devices, and how they are driven.
struct NicView {
  std::string uplink, link, tap;
  std::string output;  ///< the device with the guest's whole frames; the tap itself without guest offloads
  io::GuestOffloads guest_offloads{};
  io::XdpMode uplink_mode{}, link_mode{}, tap_mode{};
  bool uplink_dispatched = false, link_dispatched = false;  ///< beside programs of others, in libxdp's dispatcher
  std::size_t uplink_queues = 0, link_queues = 0;           ///< that receive, with a socket each
  bool busy_poll = false;                                   ///< asked for, and the kernel can
  std::size_t queues_polled = 0;                            ///< those whose driver's work the plane does
  DeviceState uplink_state, link_state, output_state;
  ts_slot_config slot{};
};

class Fabric;

/// The packet plane of one NIC of a VM on one host: everything between its tap, the uplink and the link. Owns a slot of
/// the fabric, its AF_XDP sockets, and one thread that compares. All calls run on that thread and return when done; one
/// that isn't answered within 2 s means the thread is stuck and throws std::runtime_error. Starts closed.
class Plane {
 public:
  /// fabric and tap must outlive the plane. Devices are looked up in the caller's network namespace.
  static Result<std::unique_ptr<Plane>> create(const PlaneConfig& config, Fabric& fabric, const io::Tap& tap,
                                               OnDiverged on_diverged);
  ~Plane();
  Plane(const Plane&) = delete;
  Plane& operator=(const Plane&) = delete;

  /// A new pairing: its digest key, the VM's number on the link, the other end's address. Forgets the last pairing's
  /// comparison. Not while frames are held.
  Result<void> pair(const compare::DigestKey& key, std::uint16_t vm_id, io::MacAddress link_peer_mac);

  /// The start-up proof: a frame goes every way between tap, uplink, link and this plane, and comes out. The guest
  /// stands still and isn't protected; it sees nothing of it, nor does the network. An Error names the way, and what
  /// may be done.
  Result<void> prove_host();
  /// The same over the link and back, also for the largest frame, once both hosts have paired. The guest may run.
  Result<void> prove_link();

  // Gate and roles
  void direct();  ///< solo: frames pass both ways, in XDP
  /// Secondary: output is digested and goes nowhere, input comes from the link. An Error where there is no memory for
  /// what the programs then note of connections.
  Result<void> standby();

  /// The VM, of whichever side, is about to be stopped: it gets no more frames. What it has not read is kept on the
  /// primary, and dropped on the secondary, whose VM gets it again with the next epoch. Until resume_input(),
  /// standby_stop() or standby_return().
  void shut_input();

  // Primary
  /// The PVM stands still. Shuts its input, closes the old epoch's output and starts `epoch`. svm_rests: nothing is
  /// compared in it, and on_diverged tells with Cause::output when output waits. Returns where the flows stand.
  EpochFlows begin_epoch(std::uint32_t epoch, bool svm_rests = false);
  /// The PVM continued: gives it, and the SVM, what came in meanwhile, and opens the input.
  void resume_input();
  /// The checkpoint that began `epoch` is committed: lets the output of earlier epochs go.
  void commit(std::uint32_t epoch);
  /// The SVM continued in `epoch`.
  void svm_running(std::uint32_t epoch);
  void set_hold(Nanos hold_ns);
  /// The arbiter's record says solo: lets everything held go, in order, then as direct().
  void release_all_and_direct();
  /// The arbiter's record names another owner: drops everything held and lets frames pass neither way. Returns how many
  /// frames.
  std::size_t discard_and_close();

  // Secondary
  /// The SVM has been stopped, after shut_input(), and its QEMU reads one more frame: gives it a decoy and waits until
  /// it is taken, 20 ms at most. Once per stop. Returns whether it was: if not QEMU holds a frame that slipped in
  /// before.
  bool occupy_reader();
  /// The SVM stands still for the checkpoint that begins `next_epoch`: mirrored frames of the old one no longer count.
  /// Also before the first checkpoint, so that the SVM gets what arrives while it is loaded.
  /// An Error if the kernel keeps back for 1 s what the SVM has sent; the epoch is then still the old one.
  Result<void> standby_stop(std::uint32_t next_epoch);
  /// The checkpoint that standby_stop() was for never came to be, and the SVM is about to go on in its old epoch.
  void standby_return();
  /// The SVM holds the checkpoint's state and is about to continue.
  void standby_begin(std::uint32_t epoch, const EpochFlows& flows);
  /// The arbiter's record names this host: the SVM speaks from here on. Sends what the clients may lack.
  FailoverStats take_over();

  PlaneStats stats();
  std::vector<compare::FlowView> flows();
  NicView nic();

 private:
  struct Impl;
  explicit Plane(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace twinstep::daemon
