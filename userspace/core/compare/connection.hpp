// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "core/compare/comparer.hpp"
#include "core/compare/fifo.hpp"
#include "core/compare/held.hpp"
#include "core/compare/verified_stream.hpp"
#include "core/compare/window.hpp"

struct ts_match_flow;

namespace twinstep::compare {

/// Why a connection's two sides can't agree any more in this epoch.
struct Disagreement {
  Cause cause = Cause::content;
  const char* what = "";
};

/// What the parts of the comparison share.
struct Context {
  const DigestKey& key;
  const Limits& limits;
  Stats& stats;
};

/// One TCP connection as the primary compares it: the PVM's stream, what the SVM has stated, and the PVM's frames that
/// wait. A connection is one incarnation: a SYN with another initial sequence number belongs to another one.
/// Numbers are the PVM's unless their name says otherwise.
class Connection {
 public:
  explicit Connection(const FlowKey& flow) : flow_(flow) {}

  /// The addresses, which only the PVM's frames say.
  void set_flow(const FlowKey& flow) { flow_ = flow; }

  /// Whether a SYN of the PVM (SVM) with this number is of this connection: its first, or its repetition.
  bool takes_pvm_syn(std::uint32_t isn) const { return pvm_.isn ? *pvm_.isn == isn : !pvm_.seen; }
  bool takes_svm_syn(std::uint32_t isn) const { return svm_.isn ? *svm_.isn == isn : !svm_.seen; }

  /// A frame of the PVM; it is held until release().
  std::optional<Disagreement> on_pvm(const Context& context, const HeldFrame& held, const Frame& frame,
                                     std::span<const std::byte> bytes);
  /// A record of the SVM.
  std::optional<Disagreement> on_svm(const Context& context, const ts_record& record, Nanos now);
  /// Marks the connection as one that only a checkpoint helps.
  void give_up() { disagrees_ = true; }

  /// Releases what may go, in order of arrival. `arriving`: the number of the frame that has just come; 0: none has.
  void release(const Context& context, std::uint64_t arriving, Effects& out);
  /// A window update, if one is due. Not while frames wait: they carry the window themselves.
  void update_window(const Context& context, Effects& out);

  /// Moves what waits to the closed epoch; both sides go on from the PVM's state. Nothing: there is no state to go on
  /// from.
  std::optional<FlowBase> begin_epoch(const Limits& limits, std::vector<HeldFrame>& closed);

  /// Whether the XDP programs could go on alone: nothing waits, both streams run, and the SVM is the one ahead.
  bool may_lend() const;
  /// Writes the state that the programs go on from. fresh: what the SVM has stated too; otherwise it is there already.
  void lend(ts_match_flow& to, bool fresh) const;
  /// Goes on where the programs left off.
  void take_back(const Context& context, const ts_match_flow& from, Nanos now);

  const Fifo<HeldSegment>& held() const { return held_; }
  void forget_held() { held_.clear(); }
  /// The last time the SVM brought the connection forward.
  Nanos progress_ns() const { return svm_.progress_ns; }
  /// What the frame that waits longest waits for.
  Cause waits_for() const;
  bool disagrees() const { return disagrees_; }
  /// Reset, or closed by the VM's FIN.
  bool is_closing() const { return pvm_.reset || pvm_.fin_sent; }
  Nanos last_frame_ns() const { return pvm_.last_frame_ns; }
  /// Verified end of the stream, for messages: the offset from its base.
  std::uint32_t offset() const { return stream_ ? stream_->verified() - stream_->base() : 0; }
  FlowView view() const;

 private:
  struct Pvm {
    bool seen = false;
    bool fin_sent = false;
    bool reset = false;
    std::optional<std::uint32_t> isn;
    std::optional<std::uint32_t> tsval;  // of the SYN
    std::uint64_t syn_options = 0;
    bool is_signed = false;
    std::uint32_t highest = 0;  // behind the last number sent
    std::optional<std::uint32_t> ack;
    Nanos last_frame_ns = 0;
  };
  struct Svm {
    bool seen = false;
    std::optional<std::uint32_t> isn;
    std::optional<std::uint32_t> tsval;  // of the SYN
    std::uint64_t syn_options = 0;
    std::optional<std::uint32_t> ack;
    std::uint32_t resets = 0;
    Nanos progress_ns = 0;
    // What the SVM stated before the PVM's base was known; cumulative, so the farthest suffices. In the SVM's numbers.
    std::optional<ts_record> early;
  };

  std::optional<Disagreement> on_pvm_syn(const Context& context, const Frame& frame);
  std::optional<Disagreement> on_pvm_segment(const Context& context, const Frame& frame);
  std::optional<Disagreement> on_svm_syn(const Context& context, const ts_record& record);
  std::optional<Disagreement> join_syns(const Context& context);
  std::optional<Disagreement> start_stream(const Context& context, std::uint32_t base);
  std::optional<Disagreement> on_svm_stream(const Context& context, const ts_record& record);
  std::optional<Disagreement> on_early_record(const Context& context);
  std::optional<Disagreement> judge(const Context& context, VerifiedStream::Verdict verdict);
  void on_svm_ack(const ts_record& record, Nanos now);
  void hold(const HeldFrame& held, const Frame& frame, std::span<const std::byte> bytes);
  void note_highest(std::uint32_t end, std::uint8_t flags);

  bool bytes_agree(const HeldSegment& held) const;
  bool is_acked(const HeldSegment& held) const;
  bool may_go(const HeldSegment& held) const;
  void let_go(const Context& context, const HeldSegment& held, std::uint64_t arriving, Effects& out);

  FlowKey flow_;
  Pvm pvm_;
  Svm svm_;
  std::optional<VerifiedStream> stream_;
  WindowRule window_;
  Fifo<HeldSegment> held_;
  bool opened_ = true;         // false: waits for the SVM's SYN
  bool delta_due_ = false;     // the secondary has to learn the differences before the SYN goes out
  bool base_guessed_ = false;  // the base is the first number seen
  bool disagrees_ = false;
  std::uint32_t seq_delta_ = 0;
  std::uint32_t ts_delta_ = 0;
  std::optional<std::uint32_t> released_;  // behind the last number that went out
  std::uint32_t counted_ = 0;              // up to here bytes_matched_ has counted
  std::uint64_t bytes_matched_ = 0;
};

}  // namespace twinstep::compare
