// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <future>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <span>
#include <string>
#include <thread>
#include <variant>
#include <vector>

#include "core/session/machine.hpp"
#include "daemon/config.hpp"
#include "daemon/plane/fabric.hpp"
#include "daemon/vm/checkpoint_log.hpp"
#include "daemon/vm/guest.hpp"
#include "daemon/vm/mailbox.hpp"
#include "daemon/vm/pairing.hpp"
#include "daemon/vm/sync_progress.hpp"
#include "io/arbiter.hpp"
#include "memory/sync_pace.hpp"

namespace twinstep::daemon {

/// What a VM needs of its host. All of it outlives the VM.
struct HostServices {
  const Config& config;
  io::Arbiter& arbiter;
  /// Sends to the peer daemon; false: not connected, or its queue is full.
  std::function<bool(const session::Message&, std::uint16_t vm_id, std::span<const std::byte> body)> send;
};

/// One VM on this host: its session thread carries out the effects of session::Machine against QEMU, the packet plane,
/// the page stream and the arbiter, and gives the results back as events. All else only posts events, or asks for
/// views.
class Vm {
 public:
  /// Does nothing before start().
  Vm(const VmConfig& config, std::uint16_t vm_id, HostServices host);
  ~Vm() { stop(); }
  Vm(const Vm&) = delete;
  Vm& operator=(const Vm&) = delete;

  const std::string& name() const { return config_.name; }
  std::uint16_t id() const { return vm_id_; }

  /// place.fabric must outlive the VM.
  void start(FabricPlace place);
  /// Hands over to the secondary if there is one, ends QEMU and the thread. Events may still be posted; nobody takes
  /// them.
  void stop();

  /// Leaves an event for the session thread. body: bulk data of a message.
  void post(session::Event event, std::vector<std::byte> body = {});

  /// An operator's requests and views, as the control socket's JSON. Answered by the session thread within 10 s, or an
  /// Error.
  Result<nlohmann::json> protect();
  Result<nlohmann::json> cancel();
  Result<nlohmann::json> fail_over();
  Result<nlohmann::json> set_mode(checkpoint::Mode mode);
  Result<nlohmann::json> view();
  Result<nlohmann::json> checkpoints();
  Result<nlohmann::json> flows();
  Result<nlohmann::json> nics();

 private:
  struct Happened {
    session::Event event;
    std::vector<std::byte> body;
    std::uint32_t attempt = 0;  // of the page stream whose worker posted it; 0: not a worker's
  };
  using Query = std::function<void()>;
  using Item = std::variant<Happened, Query>;

  // vm.cpp: the thread
  void run(const std::stop_token& stop);
  void boot();
  void handle(Item& item);
  void step(const session::Event& event);
  void watch_guest();
  void post_from_worker(session::Event event, std::uint32_t attempt);
  Result<nlohmann::json> on_session_thread(std::function<Result<nlohmann::json>()> question);
  Result<nlohmann::json> operate(const std::function<session::Event(std::uint64_t op)>& make_event);

  // bodies.cpp: bulk data of messages
  std::vector<std::byte> body_of(const session::Message& message);
  Result<void> take_body(const session::Message& message, std::span<const std::byte> body);
  void note_progress(const session::Message& message);

  // memory_watch.cpp: between checkpoints
  std::uint64_t epoch_bytes_max() const;
  void watch_memory(const std::stop_token& stopped, std::uint32_t epoch, std::uint64_t generation,
                    std::optional<Nanos> ahead_ns);

  // effects.cpp: one for each effect
  void carry_out(const session::StartVm& effect);
  void carry_out(const session::KillVm& effect);
  void carry_out(const session::Send& effect);
  void carry_out(const session::ArbiterSwap& effect);
  void carry_out(const session::ArbiterRead& effect);
  void carry_out(const session::PrepareStandby& effect);
  void carry_out(const session::LiveSync& effect);
  void carry_out(const session::StopStreams& effect);
  void carry_out(const session::PausePrimary& effect);
  void carry_out(const session::StreamImage& effect);
  void carry_out(const session::StopSvm& effect);
  void carry_out(const session::ApplyImage& effect);
  void carry_out(const session::WakeSvm& effect);
  void carry_out(const session::ResumeSvm& effect);
  void carry_out(const session::OpenGate& effect);
  void carry_out(const session::CommitOutput& effect);
  void carry_out(const session::CompareFrom& effect);
  void carry_out(const session::ReleaseAll& effect);
  void carry_out(const session::ShutGate& effect);
  void carry_out(const session::TakeOver& effect);
  void carry_out(const session::Reply& effect);
  void carry_out(const session::Journal& effect);
  Result<void> start_guest(bool paused);
  Result<void> prepare_standby();
  Result<void> agree_on_nics(const std::vector<wire::PrepareNic>& there) const;
  /// Whether a checkpoint would carry all that is in the machine now.
  Result<void> check_coverage();
  Result<void> prepare_sync();
  Result<void> sync_live(std::uint64_t generation);
  Result<memory::LiveRound> sync_round(std::uint64_t generation, const memory::SyncPace& pace);
  Result<void> take_page_checksums();
  Result<CheckpointEntry> pause_primary(const session::PausePrimary& effect);
  Result<void> stop_svm(std::uint32_t epoch);
  Result<void> apply_image(std::uint32_t epoch);
  Result<void> keep_image(std::uint32_t epoch);
  Result<void> wake_svm(std::uint32_t epoch);
  void accept_stream();
  void receive_next();
  void report(session::Step step, const Result<void>& result, session::Event done);

  const VmConfig& config_;
  const std::uint16_t vm_id_;
  HostServices host_;
  std::optional<FabricPlace> place_;  // from start() on
  session::Machine machine_;
  Mailbox<Item> mailbox_;
  CheckpointLog log_;
  SyncProgress sync_;
  std::uint64_t checkpoints_verified_ = 0;
  std::unique_ptr<Guest> guest_;
  bool death_told_ = false;  // the machine knows that guest_'s QEMU ended
  Pairing pairing_;
  std::map<std::uint64_t, std::promise<std::string>> replies_;  // operators who wait, by request
  std::uint64_t last_op_ = 0;
  std::jthread thread_;  // last: it ends before what it uses
};

}  // namespace twinstep::daemon
