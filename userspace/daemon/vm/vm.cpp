// SPDX-License-Identifier: Apache-2.0
#include "daemon/vm/vm.hpp"

#include <spdlog/spdlog.h>

#include <chrono>
#include <utility>

#include "qemu-glue/devices/coverage.hpp"

namespace twinstep::daemon {
namespace {

using namespace std::chrono_literals;

constexpr auto kAnswerTimeout = 10s;
constexpr Nanos kIdleWait = kSecond;
constexpr Nanos kArbiterTimeout = 500 * kMillisecond;

session::Config machine_config(const Config& host, const VmConfig& vm) {
  session::Config config;
  config.self = host.host.name;
  config.peer = host.peer.name;
  config.home = vm.home == host.host.name;
  config.peer_timeout_ns = host.timing.peer_timeout_ns;
  config.policy.epoch_max_ns = host.timing.epoch_max_ns;
  config.policy.hold_initial_ns = host.timing.hold_initial_ns;
  config.policy.period_ns = host.timing.period_ns;
  config.mode = vm.mode;
  return config;
}

}  // namespace

Vm::Vm(const VmConfig& config, std::uint16_t vm_id, HostServices host)
    : config_(config), vm_id_(vm_id), host_(std::move(host)), machine_(machine_config(host_.config, config)) {}

void Vm::start(FabricPlace place) {
  place_.emplace(place);
  thread_ = std::jthread([this](const std::stop_token& stop) { run(stop); });
}

void Vm::stop() {
  thread_.request_stop();
  mailbox_.post(Query{[] {}});
  if (thread_.joinable()) thread_.join();
}

void Vm::post(session::Event event, std::vector<std::byte> body) {
  mailbox_.post(Happened{std::move(event), std::move(body), 0});
}

void Vm::post_from_worker(session::Event event, std::uint32_t attempt) {
  mailbox_.post(Happened{std::move(event), {}, attempt});
}

void Vm::run(const std::stop_token& stop) {
  boot();
  while (!stop.stop_requested()) {
    const Nanos deadline = machine_.next_deadline().value_or(io::monotonic_ns() + kIdleWait);
    const int death_fd = guest_ && !death_told_ ? guest_->qemu().death_fd() : -1;
    if (auto item = mailbox_.take(deadline, death_fd)) {
      handle(*item);
    } else {
      watch_guest();
      step(session::Tick{});  // only with an empty mailbox: a heartbeat that waits there counts before the clock does
    }
  }
  // To the machine an end of the daemon is the end of its VM: a secondary is told and takes over at once.
  step(session::VmDied{"twinstepd was stopped"});
  guest_.reset();
}

void Vm::boot() {
  const auto reply = host_.arbiter.read(config_.name, kArbiterTimeout);
  step(session::Boot{reply.status != failover::ArbiterReply::Status::unreachable, reply.record});
}

void Vm::handle(Item& item) {
  if (const auto* query = std::get_if<Query>(&item)) return (*query)();
  const auto& happened = std::get<Happened>(item);
  if (happened.attempt != 0 && happened.attempt != pairing_.attempt) return;  // its page stream was given up
  if (const auto* received = std::get_if<session::MessageReceived>(&happened.event)) {
    if (const auto taken = take_body(received->message, happened.body); !taken) {
      spdlog::error("{}: {} of {} is of no use: {}", config_.name, session::to_string(received->message.type),
                    host_.config.peer.name, taken.error().message);
      return;  // the sender's timeout ends the protection
    }
    note_progress(received->message);
  }
  step(happened.event);
}

void Vm::step(const session::Event& event) {
  for (const auto& effect : machine_.step(event, io::monotonic_ns())) {
    std::visit([this](const auto& e) { carry_out(e); }, effect);
  }
}

void Vm::watch_guest() {
  if (!guest_ || death_told_ || guest_->qemu().alive()) return;
  death_told_ = true;
  step(session::VmDied{guest_->qemu().exit_reason()});
}

Result<nlohmann::json> Vm::on_session_thread(std::function<Result<nlohmann::json>()> question) {
  auto answer = std::make_shared<std::promise<Result<nlohmann::json>>>();
  auto future = answer->get_future();
  mailbox_.post(Query{[answer, question = std::move(question)] { answer->set_value(question()); }});
  if (future.wait_for(kAnswerTimeout) != std::future_status::ready) {
    return fail(config_.name + " is busy (starting QEMU, or waiting for it); try again");
  }
  return future.get();
}

Result<nlohmann::json> Vm::operate(const std::function<session::Event(std::uint64_t op)>& make_event) {
  // The machine answers an operator within the same step, so the promise is kept before the question returns.
  return on_session_thread([this, make_event]() -> Result<nlohmann::json> {
    const std::uint64_t op = ++last_op_;
    auto reply = replies_[op].get_future();
    step(make_event(op));
    const std::string error = reply.wait_for(0s) == std::future_status::ready ? reply.get() : "nobody answered";
    replies_.erase(op);
    if (!error.empty()) return fail(config_.name + " " + error);
    return nlohmann::json();
  });
}

Result<void> Vm::check_coverage() {
  return qemu::check_coverage(guest_->qemu().qmp(), config_.memory_bytes, config_.nics.size());
}

Result<nlohmann::json> Vm::protect() {
  const auto covered = on_session_thread([this]() -> Result<nlohmann::json> {
    // Otherwise the machine says why not, and a synchronisation may be using the monitor.
    if (machine_.view().state != session::State::solo) return nlohmann::json();
    return check_coverage().and_then([this] { return guest_->prove_host(); }).map([] { return nlohmann::json(); });
  });
  if (!covered) return fail(config_.name + " " + covered.error().message);
  return operate([](std::uint64_t op) { return session::OpProtect{op}; });
}

Result<nlohmann::json> Vm::cancel() {
  return operate([](std::uint64_t op) { return session::OpCancel{op}; });
}

Result<nlohmann::json> Vm::fail_over() {
  return operate([](std::uint64_t op) { return session::OpFailover{op}; });
}

Result<nlohmann::json> Vm::set_mode(checkpoint::Mode mode) {
  return operate([mode](std::uint64_t op) { return session::OpMode{op, mode}; });
}

}  // namespace twinstep::daemon
