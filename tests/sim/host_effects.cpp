// SPDX-License-Identifier: Apache-2.0
//
// The daemon's part: how a host carries out what its session machine orders.
#include <string>
#include <utility>

#include "host.hpp"

namespace twinstep::sim {

// ---------------------------------------------------------------------------------------------------------------------
// Effects: the VM

void Host::carry_out(const session::StartVm& /*effect*/) {
  vm_starting_ = true;
  later(context_.random.between(10 * kMillisecond, 40 * kMillisecond), [this] {
    make_vm();
    run_ = 0;
    vm_->start(0);
    finish_with(session::VmStarted{});
  });
}

void Host::carry_out(const session::KillVm& /*effect*/) {
  resting_.reset();
  if (vm_) {
    vm_->stop();
    vm_.reset();
    plane_->attach(nullptr);
    world_.vm_ended(index_);
  }
  vm_loaded_ = applied_while_fenced_ = threw_part_away_ = false;
  run_ = 0;
  finish();
}

void Host::carry_out(const session::PrepareStandby& /*effect*/) {
  later(context_.random.between(10 * kMillisecond, 40 * kMillisecond), [this] {
    make_vm();
    vm_loaded_ = false;
    run_ = 0;
    plane_->standby();
    finish_with(session::VmStarted{});
  });
}

void Host::carry_out(const session::PausePrimary& effect) {
  if (!vm_) return fail(session::Step::pause_primary);
  plane_->gate_input();
  const bool takes_long = context_.random.chance(0.05);
  if (effect.svm_rests) context_.mark("began an epoch in which the SVM rests");
  later(context_.random.between(kMillisecond / 3, 3 * kMillisecond), [this, effect, takes_long] {
    if (!vm_) return fail(session::Step::pause_primary);
    vm_->stop();
    later(context_.random.between(kMillisecond, takes_long ? 60 * kMillisecond : 8 * kMillisecond), [this, effect] {
      const std::uint32_t epoch = effect.epoch;
      if (!vm_) return fail(session::Step::pause_primary);
      auto image = std::make_shared<Image>();
      image->id = checkers_.output.image_made(index_, vm_->guest.state);
      image->epoch = epoch;
      image->state = vm_->guest.state;
      image->bases = plane_->begin_epoch(epoch, image->id, effect.svm_rests);
      image->translations = plane_->translations();
      staged_ = std::move(image);
      vm_->start(0);
      // The VM runs, and its output is compared, before the machine hears of it.
      later(context_.random.between(0, kMillisecond), [this, epoch] { finish_with(session::PauseDone{epoch}); });
    });
  });
}

void Host::carry_out(const session::StopSvm& effect) {
  later(context_.random.between(kMillisecond / 3, 3 * kMillisecond), [this, epoch = effect.epoch] {
    if (!vm_) return fail(session::Step::stop_svm);
    vm_->stop();
    stopped_digest_ = vm_->guest.state.digest();
    plane_->standby_stop(epoch);
    incoming_.emplace().epoch = epoch;
    finish_with(session::SvmStopDone{epoch});
  });
}

void Host::carry_out(const session::ApplyImage& effect) {
  later(context_.random.between(2 * kMillisecond, 10 * kMillisecond), [this, rests = effect.svm_rests] {
    if (!vm_ || !incoming_ || !incoming_->image) return fail(session::Step::apply_image);
    const auto incoming = std::exchange(incoming_, std::nullopt);
    const Image& image = *incoming->image;
    for (std::size_t page = 0; page < GuestState::kPages; ++page) {
      if (incoming->have[page]) vm_->guest.state.pages[page] = image.state.pages[page];
    }
    run_ = image.id;
    vm_loaded_ = true;
    threw_part_away_ = false;
    applied_while_fenced_ = view()->state == session::State::fenced;
    if (rests) {
      plane_->standby_stop(image.epoch);
      plane_->standby_start(image);
      resting_ = incoming->image;
      finish_with(session::ApplyDone{image.epoch});
      for (auto early = std::exchange(early_pages_, {}); const PagePart& part : early) link_page(part);
      return;
    }
    resting_.reset();
    plane_->standby_start(image);
    restart_vm(image.state.digest(), context_.random.between(2 * kMillisecond, 20 * kMillisecond));
    finish_with(session::ApplyDone{image.epoch});
  });
}

void Host::carry_out(const session::WakeSvm& /*effect*/) {
  later(context_.random.between(2 * kMillisecond, 10 * kMillisecond), [this] {
    if (!vm_ || !resting_) return fail(session::Step::apply_image);
    context_.mark("woke an SVM that rested");
    const auto image = std::exchange(resting_, nullptr);
    plane_->standby_wake(*image);
    restart_vm(image->state.digest(), context_.random.between(2 * kMillisecond, 20 * kMillisecond));
    finish_with(session::ApplyDone{image->epoch});
  });
}

void Host::carry_out(const session::ResumeSvm& /*effect*/) {
  if (vm_) {
    plane_->standby_resume();
    checkers_.image.takes_over(index_, vm_loaded_);
    restart_vm(stopped_digest_, 0);
  }
  finish();
}

void Host::restart_vm(std::uint64_t origin_digest, Nanos warm_up) {
  checkers_.image.continues(index_, vm_->guest.state.digest(), origin_digest);
  vm_->start(warm_up);
}

// ---------------------------------------------------------------------------------------------------------------------
// Effects: messages and the arbiter

void Host::carry_out(const session::Send& effect) {
  context_.trace(index_, std::string("says ") + session::to_string(effect.message.type) + " " +
                             std::to_string(effect.message.epoch));
  if (effect.message.type == session::MessageType::prepare && !std::exchange(protect_asked_, false))
    context_.mark("synchronised anew by itself");
  link_.send(index_, effect.message);
  finish();
}

void Host::carry_out(const session::ArbiterSwap& effect) {
  const bool promotes = effect.desired.primary == host_name(index_) && effect.expected &&
                        effect.expected->primary != effect.desired.primary;
  if (context_.planted == Planted::promote_without_swap && promotes) {
    answer_arbiter({failover::ArbiterReply::Status::ok, effect.desired});
  } else {
    arbiter_.swap(effect.expected, effect.desired, [this, life = life_](const auto& reply) {
      if (life == life_) answer_arbiter(reply);
    });
  }
  finish();
}

void Host::carry_out(const session::ArbiterRead& /*effect*/) {
  arbiter_.read([this, life = life_](const auto& reply) {
    if (life == life_) answer_arbiter(reply);
  });
  finish();
}

void Host::answer_arbiter(const failover::ArbiterReply& reply) {
  later(0, [this, reply] { step(session::ArbiterAnswered{reply}); });
}

// ---------------------------------------------------------------------------------------------------------------------
// Effects: the page stream

void Host::carry_out(const session::LiveSync& /*effect*/) {
  streaming_ = Streaming::live_sync;
  later(context_.random.between(10 * kMillisecond, 60 * kMillisecond), [this, stream = ++stream_] {
    if (stream != stream_) return;
    streaming_ = Streaming::nothing;
    step(session::LiveSyncDone{});
  });
  finish();
}

void Host::carry_out(const session::StopStreams& /*effect*/) {
  if (streaming_ != Streaming::nothing || incoming_) link_.end_stream(index_);
  streaming_ = Streaming::nothing;
  staged_.reset();
  drop_incoming();
  ++stream_;
  finish();
}

void Host::carry_out(const session::StreamImage& /*effect*/) {
  streaming_ = Streaming::image;
  stream_page(++stream_, 0);
  finish();
}

void Host::stream_page(std::uint64_t stream, std::size_t page) {
  if (stream != stream_ || !staged_) return;
  if (!link_.connected(index_)) return stream_broken();
  if (page == GuestState::kPages) {
    streaming_ = Streaming::nothing;
    return;
  }
  link_.send_page(index_, PagePart{staged_, page});
  const Nanos longest = context_.random.chance(0.05) ? 40 * kMillisecond : 3 * kMillisecond;
  later(context_.random.between(kMillisecond / 10, longest), [this, stream, page] { stream_page(stream, page + 1); });
}

void Host::stream_broken() {
  if (streaming_ != Streaming::nothing) {
    const bool live = std::exchange(streaming_, Streaming::nothing) == Streaming::live_sync;
    ++stream_;
    step(session::StepFailed{live ? session::Step::live_sync : session::Step::stream_image, "the page stream broke"});
  }
  if (incoming_ && !incoming_->told) {
    drop_incoming();
    step(session::StepFailed{session::Step::receive_image, "the page stream broke"});
  }
}

void Host::drop_incoming() {
  if (incoming_ && !incoming_->told && incoming_->count > 0) threw_part_away_ = true;
  incoming_.reset();
  early_pages_.clear();
}

void Host::link_page(const PagePart& part) {
  // While the SVM rests, images come unasked. The next one waits in the stream until the one before was applied.
  if (incoming_ && incoming_->told && view()->svm_rests) return early_pages_.push_back(part);
  if (!incoming_ && resting_) incoming_.emplace().epoch = part.image->epoch;
  if (!incoming_ || incoming_->epoch != part.image->epoch || incoming_->told) return;
  if (incoming_->image && incoming_->image != part.image) return;
  incoming_->image = part.image;
  if (!std::exchange(incoming_->have[part.page], true)) ++incoming_->count;
  const bool whole = incoming_->count == GuestState::kPages;
  if (whole) checkers_.output.image_whole(part.image->id);
  if (!whole && context_.planted != Planted::apply_partial_image) return;
  incoming_->told = true;
  step(session::ImageReceived{part.image->epoch});
}

void Host::link_stream_ended() {
  if (alive_) stream_broken();
}

// ---------------------------------------------------------------------------------------------------------------------
// Effects: the gate

void Host::carry_out(const session::OpenGate& /*effect*/) {
  plane_->open();
  finish();
}

void Host::carry_out(const session::CommitOutput& effect) {
  plane_->commit(effect.epoch);
  finish();
}

void Host::carry_out(const session::CompareFrom& effect) {
  if (index_ == kHostB) context_.mark("protected again after a failover");
  plane_->compare_from(effect.epoch, effect.hold_ns);
  finish();
}

void Host::carry_out(const session::ReleaseAll& /*effect*/) {
  context_.mark("went solo with output held");
  if (link_.is_cut()) context_.mark("the primary won a cut link");
  plane_->release_all();
  finish();
}

void Host::carry_out(const session::ShutGate& /*effect*/) {
  plane_->shut();
  finish();
}

void Host::carry_out(const session::TakeOver& /*effect*/) {
  context_.trace(index_, "takes over");
  context_.mark("took over");
  if (applied_while_fenced_) context_.mark("took over from a commit that was not yet applied");
  if (threw_part_away_) context_.mark("took over, throwing away part of an image");
  if (vm_) {
    checkers_.image.takes_over(index_, vm_loaded_);
    checkers_.output.promoted(index_, vm_->guest.state);
    run_ = 0;
    plane_->take_over();
  }
  finish();
}

void Host::carry_out(const session::Reply& effect) {
  context_.trace(index_, "answers the operator: " + (effect.error.empty() ? "done" : effect.error));
  finish();
}

void Host::carry_out(const session::Journal& effect) {
  context_.trace(index_, effect.text);
  finish();
}

}  // namespace twinstep::sim
