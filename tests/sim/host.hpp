// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "arbiter.hpp"
#include "checkers.hpp"
#include "context.hpp"
#include "core/session/machine.hpp"
#include "faults.hpp"
#include "link.hpp"
#include "plane.hpp"
#include "vm.hpp"

namespace twinstep::sim {

/// What a host asks of the world around it.
class HostWorld {
 public:
  virtual ~HostWorld() = default;
  virtual void send_to_client(HostIndex host, const Packet& packet) = 0;
  /// The host is about to carry out an effect: the moment for faults that wait for it. Returns how the effect
  /// fails: step_failure or beyond_bound.
  virtual std::optional<FaultKind> effect_fails(HostIndex host, std::size_t effect) = 0;
  /// The VM's process on this host ended by order.
  virtual void vm_ended(HostIndex host) = 0;
};

/// The secondary's part of the page stream.
struct IncomingImage {
  std::uint32_t epoch = 0;
  std::shared_ptr<const Image> image;
  std::array<bool, GuestState::kPages> have{};
  std::size_t count = 0;
  bool told = false;
};

/// One host: the session machine, its daemon's part (carrying out effects in order, each taking its time), the VM and
/// the packet plane.
class Host : public LinkEnd {
 public:
  Host(Context& context, Checkers& checkers, Arbiter& arbiter, Link& link, HostWorld& world, HostIndex index);

  void boot();
  void crash(bool silent);
  void kill_qemu();
  void operator_failover();
  void operator_mode(checkpoint::Mode mode);
  /// Asks for protection if the VM runs unprotected here; repeats itself.
  void keep_protected(Nanos every);

  bool alive() const { return alive_; }
  /// The VM's process runs here, or is being started.
  bool has_vm() const;
  const session::View* view() const { return machine_ ? &machine_->view() : nullptr; }
  Plane& plane() { return *plane_; }

  void link_connected() override;
  void link_disconnected(const std::string& reason) override;
  void link_message(const session::Message& message) override;
  void link_page(const PagePart& part) override;
  void link_stream_ended() override;
  void link_frame(const RawFrame& frame) override;

 private:
  void step(const session::Event& event);
  void watch_deadline();
  void later(Nanos delay, const std::function<void()>& action);
  void pump();
  void finish();
  void finish_with(const session::Event& event);
  void fail(session::Step which);
  bool fails_now(const session::Effect& effect, FaultKind how);
  void make_vm();
  void heartbeat();
  void stream_page(std::uint64_t stream, std::size_t page);
  void stream_broken();
  void drop_incoming();
  void answer_arbiter(const failover::ArbiterReply& reply);
  void restart_vm(std::uint64_t origin_digest, Nanos warm_up);

  // Each ends by finish(), at once or later.
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

  Context& context_;
  Checkers& checkers_;
  Arbiter& arbiter_;
  Link& link_;
  HostWorld& world_;
  HostIndex index_;

  bool alive_ = false;
  std::uint64_t life_ = 0;  // what an earlier life has scheduled is void
  std::optional<session::Machine> machine_;
  std::optional<Nanos> tick_at_;
  std::deque<session::Effect> lane_;
  bool busy_ = false;
  std::uint64_t operations_ = 0;
  bool protect_asked_ = false;  // by the operator, and not yet begun

  std::unique_ptr<Plane> plane_;
  std::shared_ptr<Vm> vm_;
  bool vm_loaded_ = false;  // the SVM has been given a state
  bool vm_starting_ = false;
  ImageId run_ = 0;                       // the image that the SVM was continued from
  std::shared_ptr<const Image> resting_;  // the image whose state the resting SVM has
  std::uint64_t stopped_digest_ = 0;      // the SVM's state when it was stopped
  bool applied_while_fenced_ = false;     // of the latest image
  bool threw_part_away_ = false;          // of an image, since the latest was applied

  std::shared_ptr<const Image> staged_;
  std::uint64_t stream_ = 0;  // counts page streams; a page of an older one is void
  enum class Streaming : std::uint8_t { nothing, live_sync, image } streaming_ = Streaming::nothing;
  std::optional<IncomingImage> incoming_;
  std::deque<PagePart> early_pages_;  // of the next image, while the one before is applied
};

}  // namespace twinstep::sim
