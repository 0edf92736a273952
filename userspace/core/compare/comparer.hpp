// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <variant>
#include <vector>

#include "core/compare/frame.hpp"
#include "core/time.hpp"

struct ts_match_flow;

namespace twinstep::compare {

/// Why a checkpoint is due, as the comparison sees it.
enum class Cause : std::uint8_t {
  content,   ///< the streams' bytes differ, or their ends (FIN), or a SYN's options
  stall,     ///< the SVM made no progress for the hold time on a flow that waits for its bytes
  ack,       ///< likewise, waiting for the SVM's acknowledgement
  datagram,  ///< a datagram, ARP or other frame waited the hold time for its twin
  base,      ///< both sides start the epoch of a flow at different places (flow older than the protection)
  pressure,  ///< held frames or flows reached their limit
  output,    ///< no disagreement: output waits in an epoch in which the SVM rests (the packet plane says so)
};
const char* to_string(Cause cause);

/// Let the frame go out by the uplink. `window`, where given, replaces the TCP window field first (checksum included).
struct Release {
  FrameId id = 0;
  std::optional<std::uint16_t> window;
};
/// The frame goes nowhere: it is one that the network may lose, and the bound on such frames is reached. Free it.
struct Drop {
  FrameId id = 0;
};
/// Send bytes that no VM sent: a window update made from the flow's last pure ACK. A whole Ethernet frame.
struct SendFrame {
  std::vector<std::byte> bytes;
};
/// Tell the secondary how its numbers differ on this flow. Must reach it before any frame released after this effect is
/// answered: put it on the link before the next release goes out.
struct SetDelta {
  FlowKey flow;
  std::uint32_t seq_delta = 0;
  std::uint32_t ts_delta = 0;
  std::uint32_t svm_isn = 0;  ///< which connection on these ports is meant
};
/// A checkpoint is due. Emitted once per epoch; what is held stays held until commit().
struct Diverged {
  Cause cause = Cause::content;
  std::string detail;  ///< for the journal: flow and offset
};
using Effect = std::variant<Release, Drop, SendFrame, SetDelta, Diverged>;
using Effects = std::vector<Effect>;

struct Limits {
  std::size_t held_frames_max = 8192;  ///< reaching it asks for a checkpoint (pressure); the owner keeps slack above it
  std::size_t flows_max = 65536;       ///< oldest idle flow is forgotten first
  std::size_t half_open_flows_max =
      16384;  ///< flows of which a VM only said SYN-ACK or RST, beside flows_max; the oldest is forgotten first
  std::size_t lent_flows_max = 0;  ///< connections that the XDP programs compare; 0: none
  std::size_t boundaries_max =
      256;  ///< per flow: SVM boundaries kept while the PVM lags; the oldest is dropped (cumulative)
  Nanos grace_ns = 200 * kMillisecond;  ///< longest wait for the SVM's first output after it continued
  std::int64_t expendable_burst = 10;   ///< checkpoints that frames which a network may lose can ask for at once
  Nanos expendable_refill_ns = 500 * kMillisecond;  ///< then one in this time
  std::uint32_t window_update_bytes = 2896;  ///< send a window update when the SVM's edge opens by more than this
};

/// Where both sides start a flow's stream in a new epoch: the PVM's highest sequence number sent (rule 1).
struct FlowBase {
  FlowKey flow;
  std::uint32_t seq = 0;  ///< next sequence number of the stream
  std::uint8_t window_scale = 0;
  bool fin_sent = false;  ///< seq is beyond the FIN
};

/// For `twinstep flow show`.
struct FlowView {
  FlowKey flow;
  std::uint64_t bytes_matched = 0;
  std::uint32_t seq_delta = 0;
  std::uint32_t ts_delta = 0;
  std::size_t frames_held = 0;
  std::string state;  ///< "opening", "agreeing", "waiting", "diverged", "closing"
};

struct Stats {
  std::uint64_t frames_in = 0;
  std::uint64_t frames_released = 0;             ///< by agreement
  std::uint64_t frames_released_on_arrival = 0;  ///< of those, without waiting
  std::uint64_t frames_released_by_commit = 0;
  std::uint64_t frames_dropped = 0;   ///< by discard()
  std::uint64_t frames_expended = 0;  ///< dropped by the bound on frames that a network may lose
  std::uint64_t frames_held = 0;      ///< now
  std::uint64_t records_in = 0;
  std::uint64_t records_stale = 0;  ///< of another epoch
  std::uint64_t bytes_matched = 0;
  std::uint64_t window_updates = 0;
  std::uint64_t flows = 0;
  std::uint64_t flows_half_open = 0;  ///< of those
  std::uint64_t flows_lent = 0;       ///< that the XDP programs compare now
};

/// The primary's side of the comparison. Pure: no clock, no I/O. Holds the PVM's frames of the current epoch until the
/// SVM's records agree with them, and those of an epoch that was closed by begin_epoch() until its commit().
///
/// Rules (invariant I1): a TCP frame [s,e) with acknowledgement a is released in the flow's order of arrival when the
/// SVM's stream covers [s,e) with an equal digest and the SVM has acknowledged >= a. Pure ACKs wait for the ack rule
/// only. SYN (with options), FIN and RST are events of the stream. Bytes that were already released pass at once,
/// subject to the ack rule. The window that goes out is the smaller right edge of the two. SVM boundaries that fall
/// inside a PVM frame are checked by digesting that frame's prefix. Numbers of the SVM are made relative to its own
/// initial sequence number.
///
/// What anybody outside can make a VM send is expendable: a SYN-ACK or RST on a flow of which the VM said nothing else
/// (half-open), and all that is compared as a whole. A network may lose such a frame. When a quarter of held_frames_max
/// are of one of these kinds a checkpoint is due, and at three eighths the oldest datagram, or the newest answer, is
/// dropped; while the SVM stands still only held_frames_max counts. Expendable frames may ask for a checkpoint
/// expendable_burst times and then once in expendable_refill_ns: no flood costs more than that.
class Comparer {
 public:
  Comparer(DigestKey key, Limits limits);
  ~Comparer();
  Comparer(Comparer&&) noexcept;
  Comparer& operator=(Comparer&&) noexcept;

  /// A frame the PVM sent in the current epoch. The comparer decides its fate by a later or immediate Release.
  void on_frame(FrameId id, const Frame& frame, std::span<const std::byte> bytes, Nanos now, Effects& out);
  /// A record of the SVM's output. Records of another epoch are counted and ignored.
  void on_record(const ts_record& record, std::uint32_t epoch, Nanos now, Effects& out);
  /// Checks the hold clock. Call at next_deadline() or later.
  void on_tick(Nanos now, Effects& out);
  /// When on_tick() has work; nothing: no deadline.
  std::optional<Nanos> next_deadline() const;

  /// The PVM stands still and all its frames of the old epoch were given to on_frame(). Frames held now wait for
  /// commit(). Flows go on at the returned bases; all differences become zero; the SVM's ack becomes the PVM's.
  std::vector<FlowBase> begin_epoch(std::uint32_t epoch, Nanos now);
  /// The checkpoint that began `epoch` is committed on the secondary: releases all frames of earlier epochs, in order.
  void commit(std::uint32_t epoch, Effects& out);
  /// The SVM continued in `epoch`: the hold clock may run (rule 9: from max(arrival, its first output, at most grace)).
  void svm_running(std::uint32_t epoch, Nanos now);
  /// How long the SVM may make no progress. Follows the measured cost of a checkpoint.
  void set_hold(Nanos hold_ns);

  /// Protection ends and this side is solo by the arbiter's record: releases everything held, in order of arrival.
  void release_all(Effects& out);
  /// Protection ends and this side lost: forgets everything; returns the frames to free. Nothing goes out.
  std::vector<FrameId> discard();

  // Connections in the hands of the XDP programs, which let out what the SVM has produced before.
  /// Those that may be lent, since the last call. At most Limits::lent_flows_max are lent at a time.
  std::vector<FlowId> take_offers();
  /// Lends one: writes the state that the programs go on from (see Connection::lend). False: it can't be lent now.
  bool lend(FlowId id, ts_match_flow& to, bool fresh);
  /// A lent connection is here again, in this state. Before a frame of it is given to on_frame(), or a record that
  /// isn't plain to on_record(), and before begin_epoch(), release_all() and discard().
  void take_back(FlowId id, const ts_match_flow& from, Nanos now);

  std::uint32_t epoch() const;
  const Stats& stats() const;
  std::vector<FlowView> flows() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace twinstep::compare
