// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "core/checkpoint/policy.hpp"
#include "core/failover/record.hpp"
#include "core/session/message.hpp"
#include "core/time.hpp"

namespace twinstep::session {

using failover::ArbiterReply;
using failover::HostId;
using failover::Record;

// ---------------------------------------------------------------------------------------------------------------------
// Events: everything that can happen to one VM on one host.

/// The daemon starts. `record`: what the arbiter holds; `known` false: the arbiter could not be asked.
struct Boot {
  bool known = false;
  std::optional<Record> record;
};
struct OpProtect {
  std::uint64_t op = 0;  ///< answered by Reply with this number
};
struct OpFailover {
  std::uint64_t op = 0;
};
/// End a synchronisation that goes on.
struct OpCancel {
  std::uint64_t op = 0;
};
/// An operator chooses how the VM is protected; takes effect by a checkpoint if it is protected now.
struct OpMode {
  std::uint64_t op = 0;
  checkpoint::Mode mode = checkpoint::Mode::colo;
};
struct PeerConnected {};
/// The control connection broke: the peer's daemon ended, or the link did.
struct PeerDisconnected {
  std::string reason;
};
/// A heartbeat of the peer arrived.
struct PeerHeard {};
struct MessageReceived {
  Message message;
};
/// QEMU runs as StartVm or PrepareStandby asked for.
struct VmStarted {};
/// QEMU ended by itself.
struct VmDied {
  std::string reason;
};
/// All of the RAM was streamed once and the dirty rest is small.
struct LiveSyncDone {};
/// The PVM was stopped, saved, staged, and runs again; its output of the new epoch is held.
struct PauseDone {
  std::uint32_t epoch = 0;
};
struct SvmStopDone {
  std::uint32_t epoch = 0;
};
/// The whole image of `epoch` is here and verified.
struct ImageReceived {
  std::uint32_t epoch = 0;
};
/// The SVM has the image's state, and runs if that was asked for.
struct ApplyDone {
  std::uint32_t epoch = 0;
};
enum class Step : std::uint8_t {
  start_vm,
  prepare_standby,
  live_sync,
  pause_primary,
  stream_image,
  stop_svm,
  receive_image,
  apply_image
};
const char* to_string(Step step);
/// An effect could not be carried out. No other event follows for that effect.
struct StepFailed {
  Step step = Step::start_vm;
  std::string reason;
  /// pause_primary: the secondary can only be made equal by synchronising it anew, which begins by itself: at once, and
  /// after ever longer waits if that fails.
  bool resynchronise = false;
};
struct ArbiterAnswered {
  ArbiterReply reply;
};
/// The comparison asks for a checkpoint of this epoch.
struct Diverged {
  std::uint32_t epoch = 0;
  compare::Cause cause = compare::Cause::content;
};
/// Time passed; to be given at next_deadline() at the latest.
struct Tick {};

using Event = std::variant<Boot, OpProtect, OpFailover, OpCancel, OpMode, PeerConnected, PeerDisconnected, PeerHeard,
                           MessageReceived, VmStarted, VmDied, LiveSyncDone, PauseDone, SvmStopDone, ImageReceived,
                           ApplyDone, StepFailed, ArbiterAnswered, Diverged, Tick>;

// ---------------------------------------------------------------------------------------------------------------------
// Effects: everything the machine wants done, to be carried out in order.

/// Start QEMU with the VM running -> VmStarted | StepFailed{start_vm}.
struct StartVm {};
/// End QEMU, if it runs. No VmDied follows.
struct KillVm {};
struct Send {
  Message message;
};
/// Swap the record: `expected` nothing: there must be none yet -> ArbiterAnswered.
struct ArbiterSwap {
  std::optional<Record> expected;
  Record desired;
};
struct ArbiterRead {};  ///< -> ArbiterAnswered
/// Secondary: check the primary's definition, start QEMU paused, be ready to receive -> VmStarted |
/// StepFailed{prepare_standby}.
struct PrepareStandby {};
/// Primary: stream the RAM while the VM runs -> LiveSyncDone | StepFailed{live_sync}.
struct LiveSync {};
/// End what goes on on the page stream, whichever direction; forget staged or half-received images. Nothing follows.
struct StopStreams {};
/// Primary: stop, save, scan, stage, begin_epoch(epoch), continue -> PauseDone | StepFailed{pause_primary}. In both
/// cases the VM runs afterwards, and from begin_epoch on its output is held.
struct PausePrimary {
  std::uint32_t epoch = 0;
  bool svm_ran = true;     ///< and `svm_stopped` told which pages it wrote; false: it has rested, and wrote none
  bool svm_rests = false;  ///< in the new epoch: the packet plane says when output waits (compare::Cause::output)
};
/// Primary: send what PausePrimary staged -> StepFailed{stream_image}; success shows by the peer's `committed`.
struct StreamImage {
  std::uint32_t epoch = 0;
};
/// Secondary: stop the SVM, drop stale input, list dirty pages -> SvmStopDone | StepFailed{stop_svm}; then expect the
/// image -> ImageReceived | StepFailed{receive_image}.
struct StopSvm {
  std::uint32_t epoch = 0;
};
/// Secondary: write the image into the SVM and continue it, or let it rest: keep its device state for WakeSvm, and
/// expect the next image, of which nothing is told before that -> ApplyDone | StepFailed{apply_image}.
struct ApplyImage {
  std::uint32_t epoch = 0;
  bool svm_rests = false;
};
/// Secondary: continue the SVM that rests in the state of the image that was applied last -> ApplyDone |
/// StepFailed{apply_image}.
struct WakeSvm {
  std::uint32_t epoch = 0;
};
/// Secondary: the SVM continues in the state in which StopSvm left it.
struct ResumeSvm {};
/// Gate: the VM's output leaves by the uplink at once (solo from the start).
struct OpenGate {};
/// Gate: the checkpoint that began `epoch` is committed, release the output of earlier epochs.
struct CommitOutput {
  std::uint32_t epoch = 0;
};
/// Comparison: the SVM runs in `epoch`, the hold clock may run, with this HOLD.
struct CompareFrom {
  std::uint32_t epoch = 0;
  Nanos hold_ns = 0;
};
/// Gate: solo by the arbiter's record. Release all that is held, then OpenGate.
struct ReleaseAll {};
/// Gate: shut. Forget what is held; nothing goes out any more.
struct ShutGate {};
/// Secondary that became owner: make the SVM the VM. Gate open, with the flows' differences, replay, announcement. The
/// SVM runs.
struct TakeOver {};
/// Answer to an operator. error empty: done.
struct Reply {
  std::uint64_t op = 0;
  std::string error;
};
/// A line for the journal.
struct Journal {
  std::string text;
};

using Effect = std::variant<StartVm, KillVm, Send, ArbiterSwap, ArbiterRead, PrepareStandby, LiveSync, StopStreams,
                            PausePrimary, StreamImage, StopSvm, ApplyImage, WakeSvm, ResumeSvm, OpenGate, CommitOutput,
                            CompareFrom, ReleaseAll, ShutGate, TakeOver, Reply, Journal>;
using Effects = std::vector<Effect>;

// ---------------------------------------------------------------------------------------------------------------------

struct Config {
  HostId self;
  HostId peer;
  bool home = false;                           ///< this host creates the record and starts the VM when there is none
  Nanos peer_timeout_ns = 300 * kMillisecond;  ///< silence after which the peer counts as lost
  Nanos promote_delay_ns =
      50 * kMillisecond;                    ///< the secondary's extra patience, so that a live primary wins a cut link
  Nanos step_timeout_ns = 5 * kSecond;      ///< longest wait for any one answer of the peer
  Nanos prepare_timeout_ns = 60 * kSecond;  ///< the peer starts QEMU
  Nanos commit_timeout_ns = 30 * kSecond;   ///< the peer receives an image
  Nanos arbiter_retry_ns = 100 * kMillisecond;
  Nanos retry_min_ns = kSecond;       ///< wait before the second attempt at protecting again; each next is double
  Nanos retry_max_ns = 60 * kSecond;  ///< longest such wait; a protection that lasted so long was a success
  checkpoint::PolicyLimits policy;
  checkpoint::Mode mode = checkpoint::Mode::colo;
};

enum class Role : std::uint8_t { none, primary, secondary };
enum class State : std::uint8_t {
  absent,    ///< no QEMU here
  starting,  ///< waits for the arbiter or for QEMU
  solo,      ///< runs unprotected, gate open
  syncing,   ///< primary: runs, gate open, the secondary is being made; secondary: being made
  guarded,   ///< protected: the secondary could take over right now
  fenced,    ///< primary: output held, asking the arbiter to be solo; secondary: asking to take over
};
const char* to_string(Role role);
/// The word that users see; `guarded` is shown as "protected".
const char* to_string(State state);

/// What users may see of the machine.
struct View {
  Role role = Role::none;
  State state = State::absent;
  Record record;
  std::uint32_t epoch = 0;
  std::uint64_t checkpoints = 0;  ///< completed, the initial one included
  std::map<std::string, std::uint64_t> checkpoints_by_cause;
  bool svm_rests = false;     ///< protected, and nothing is compared
  std::string last_reason;    ///< why the latest role change happened
  Nanos peer_lost_at_ns = 0;  ///< when the peer was found lost; 0: never
  Nanos detect_ns = 0;        ///< from the peer's last sign of life until then
  Nanos took_over_at_ns = 0;  ///< when TakeOver or ReleaseAll was ordered; 0: never
  unsigned attempts = 0;      ///< at protecting again by itself, one after the other, the next one included
  std::optional<Nanos> protects_again_at_ns;  ///< runs solo until then
};

/// One VM on one host: protection, checkpoints, failover. Pure: state and event in, effects out; `now` is an argument.
/// Invariants it keeps (the simulator checks them by name): I2 one voice: OpenGate, ReleaseAll and TakeOver are ordered
/// only under a record that names this host primary and nobody secondary; I1(b): CommitOutput only after the peer's
/// `committed`, and the first time only after the arbiter has registered the secondary; I3: a secondary applies whole
/// images only.
class Machine {
 public:
  explicit Machine(Config config);
  /// Takes one event. The effects are to be carried out in order, and each one's result given back as an event.
  Effects step(const Event& event, Nanos now);
  /// When a Tick is due at the latest; nothing: not at all.
  std::optional<Nanos> next_deadline() const;
  const View& view() const { return view_; }
  /// Why the checkpoint under way, or else the latest one, was taken.
  checkpoint::Cause checkpoint_cause() const { return cause_; }
  const checkpoint::Policy& policy() const { return policy_; }

 private:
  /// Where a primary stands in a checkpoint, or a secondary in its part of it.
  enum class Phase : std::uint8_t {
    idle,
    preparing,      // P: the secondary starts its QEMU
    live_sync,      // P
    wait_svm_stop,  // P
    pausing,        // P
    wait_commit,    // P: image under way
    registering,    // P: first commit done, arbiter asked
    wait_running,   // P
    stopping,       // S
    receiving,      // S
    applying,       // S: committed
    broken,         // S: image lost, primary told
  };

  struct Handler;
  friend struct Handler;

  Config config_;
  View view_;
  checkpoint::Policy policy_;
  Phase phase_ = Phase::idle;
  bool peer_connected_ = false;
  Nanos last_heard_ns_ = 0;
  std::optional<Nanos> phase_deadline_;
  std::uint32_t pairing_ = 0;

  // Arbiter: at most one question at a time, repeated until it is answered.
  enum class Question : std::uint8_t {
    none,
    boot,
    create,
    restart,
    register_secondary,
    claim_solo,
    promote_read,
    promote
  };
  Question question_ = Question::none;
  bool question_open_ = false;  // asked, not yet answered
  bool answer_stale_ = false;   // the answer that is on its way is to a question that was given up
  std::optional<Nanos> ask_again_ns_;
  ArbiterSwap swap_{};

  // Primary
  bool registered_ = false;     // the arbiter names our secondary
  bool output_held_ = false;    // PausePrimary was ordered since the gate was last open
  bool peer_lost_ = false;      // found while a question was open
  bool svm_ran_early_ = false;  // svm_running came while registering
  bool protect_again_ = false;  // by itself, as soon as it runs solo
  Nanos guarded_at_ns_ = 0;     // when the arbiter named our secondary
  bool next_rests_ = false;     // the SVM, in the epoch that the checkpoint under way begins
  checkpoint::Cause cause_ = checkpoint::Cause::initial;
  std::optional<Diverged> diverged_early_;  // of an epoch whose checkpoint isn't over
  Nanos requested_at_ns_ = 0;

  // Secondary
  std::uint32_t committed_epoch_ = 0;     // 0: no whole image yet
  std::optional<Message> early_request_;  // came while the image before was applied
  bool rest_asked_ = false;               // by the request that the image under way answers
  bool promote_granted_ = false;          // the arbiter's record is ours; waits for ApplyDone
};

}  // namespace twinstep::session
