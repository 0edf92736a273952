// SPDX-License-Identifier: Apache-2.0
#include "daemon/daemon.hpp"

#include <spdlog/spdlog.h>

#include <map>
#include <string>
#include <utility>

#include "core/compare/digest.hpp"
#include "daemon/version.hpp"
#include "daemon/vm_id.hpp"
#include "io/arbiter_file.hpp"

namespace twinstep::daemon {

using nlohmann::json;

namespace {

/// Two VMs of one number would get each other's messages and frames.
Result<void> check_vm_ids(const Config& config) {
  std::map<std::uint16_t, std::string> names;
  for (const auto& vm : config.vms) {
    const auto [other, fresh] = names.emplace(vm_id_of(vm.name), vm.name);
    if (!fresh)
      return fail("the VM names " + other->second + " and " + vm.name + " give the same number: rename one of them");
  }
  return {};
}

}  // namespace

Result<std::unique_ptr<Daemon>> Daemon::start(const Config& config) {
  if (const auto distinct = check_vm_ids(config); !distinct) return tl::make_unexpected(distinct.error());
  auto arbiter = io::FileArbiter::open(config.arbiter.path,
                                       [](const std::string& reason) { spdlog::error("arbiter: {}", reason); });
  if (!arbiter) return tl::make_unexpected(arbiter.error());
  std::unique_ptr<Daemon> daemon(new Daemon(config, std::move(*arbiter)));
  // The control socket comes first: it is what keeps a second daemon out.
  auto control =
      ControlServer::start(config.host.run_dir, [d = daemon.get()](const json& request) { return d->answer(request); });
  if (!control) return tl::make_unexpected(control.error());
  daemon->control_ = std::move(*control);
  if (const auto made = daemon->make_fabric(); !made) return tl::make_unexpected(made.error());
  if (const auto connected = daemon->connect(); !connected) return tl::make_unexpected(connected.error());
  if (const auto beating = daemon->beat(); !beating) return tl::make_unexpected(beating.error());
  std::uint32_t slot = 0;
  for (std::size_t i = 0; i < config.vms.size(); ++i) {
    daemon->vms_[i]->start({*daemon->fabric_, slot});
    slot += static_cast<std::uint32_t>(config.vms[i].nics.size());
  }
  return daemon;
}

Daemon::Daemon(const Config& config, std::unique_ptr<io::Arbiter> arbiter)
    : config_(config), arbiter_(std::move(arbiter)) {
  const auto send = [this](const session::Message& message, std::uint16_t vm_id, std::span<const std::byte> body) {
    return link_->send(vm_id, message, body);
  };
  for (const auto& vm : config_.vms) {
    vms_.push_back(std::make_unique<Vm>(vm, vm_id_of(vm.name), HostServices{config_, *arbiter_, send}));
  }
}

Daemon::~Daemon() {
  control_.reset();
  heartbeat_.reset();
  for (const auto& vm : vms_) vm->stop();  // their last words go out by the link, which still delivers to them
  link_.reset();
}

Result<void> Daemon::make_fabric() {
  std::vector<FabricNic> nics;
  for (const auto& vm : config_.vms)
    for (const auto& nic : vm.nics) nics.push_back({nic.uplink, nic.mac, vm.limits.umem_frames});
  auto fabric = Fabric::create(config_.link.device, nics);
  if (!fabric) return tl::make_unexpected(fabric.error());
  fabric_ = std::move(*fabric);
  return {};
}

Result<void> Daemon::connect() {
  io::ControlLinkConfig link;
  link.self = config_.host.name;
  link.peer = config_.peer.name;
  link.address = config_.link.address;
  link.peer_address = config_.peer.address;
  link.port = config_.link.port;
  link.software_version = kVersion;
  io::ControlLinkHandlers handlers;
  handlers.on_connected = [this](const wire::Hello& hello) {
    spdlog::info("connected to {} (twinstepd {})", hello.host, hello.software_version);
    to_all(session::PeerConnected{});
  };
  handlers.on_message = [this](wire::Envelope&& envelope) { deliver(std::move(envelope)); };
  handlers.on_disconnected = [this](const std::string& reason) { to_all(session::PeerDisconnected{reason}); };
  handlers.on_refused = [](const std::string& reason) { spdlog::error("{}", reason); };
  auto opened = io::ControlLink::create(std::move(link), std::move(handlers));
  if (!opened) return tl::make_unexpected(opened.error());
  link_ = std::move(*opened);
  return {};
}

Result<void> Daemon::beat() {
  io::HeartbeatConfig heartbeat;
  heartbeat.self = config_.host.name;
  heartbeat.peer = config_.peer.name;
  heartbeat.address = config_.link.address;
  heartbeat.peer_address = config_.peer.address;
  heartbeat.port = config_.link.port;
  heartbeat.interval_ns = config_.timing.heartbeat_ns;
  auto beating =
      io::Heartbeat::create(std::move(heartbeat), [this](const wire::Heartbeat&) { to_all(session::PeerHeard{}); });
  if (!beating) return tl::make_unexpected(beating.error());
  heartbeat_ = std::move(*beating);
  return {};
}

void Daemon::to_all(const session::Event& event) {
  for (const auto& vm : vms_) vm->post(event);
}

void Daemon::deliver(wire::Envelope&& envelope) {
  for (const auto& vm : vms_) {
    if (vm->id() == envelope.vm_id)
      return vm->post(session::MessageReceived{std::move(envelope.message)}, std::move(envelope.body));
  }
  spdlog::error("{} speaks of a VM that isn't configured here (number {}): add its [[vm]] to this host too",
                config_.peer.name, envelope.vm_id);
}

Vm* Daemon::find(const std::string& name) {
  for (const auto& vm : vms_) {
    if (vm->name() == name) return vm.get();
  }
  return nullptr;
}

Result<json> Daemon::answer_vms(const json& request, Result<json> (Vm::*question)()) {
  if (request.contains("name")) {
    const std::string name = request["name"];
    Vm* vm = find(name);
    if (vm == nullptr) return fail("there is no VM " + name + " in this host's configuration");
    return (vm->*question)();
  }
  json all = json::array();
  for (const auto& vm : vms_) {
    auto one = (vm.get()->*question)();
    if (!one) return one;
    if (one->is_array()) {
      all.insert(all.end(), one->begin(), one->end());
    } else {
      all.push_back(std::move(*one));
    }
  }
  return all;
}

Result<json> Daemon::set_mode(const json& request) {
  const auto mode = checkpoint::mode_of(request.value("mode", ""));
  if (!mode) return fail("which mode? say: vm mode name NAME { colo | periodic | auto }");
  const std::string name = request.value("name", "");
  Vm* vm = find(name);
  if (vm == nullptr) return fail("there is no VM '" + name + "' in this host's configuration");
  return vm->set_mode(*mode);
}

Result<json> Daemon::command(const json& request) {
  const std::string object = request.value("object", "");
  const std::string verb = request.value("command", "");
  if (object == "version") return json{{"version", kVersion}};
  if (verb == "show") {
    if (object == "vm") return answer_vms(request, &Vm::view);
    if (object == "checkpoint") return answer_vms(request, &Vm::checkpoints);
    if (object == "flow") return answer_vms(request, &Vm::flows);
    if (object == "nic") return answer_vms(request, &Vm::nics);
  }
  if (object == "vm" && (verb == "protect" || verb == "cancel" || verb == "failover")) {
    if (!request.contains("name")) return fail("which VM? say: vm " + verb + " name NAME");
    if (verb == "protect") return answer_vms(request, &Vm::protect);
    return answer_vms(request, verb == "cancel" ? &Vm::cancel : &Vm::fail_over);
  }
  if (object == "vm" && verb == "mode") return set_mode(request);
  return fail("twinstepd knows no '" + object + " " + verb + "'");
}

json Daemon::answer(const json& request) {
  auto result = command(request);
  if (!result) return {{"error", result.error().message}};
  return {{"result", std::move(*result)}};
}

}  // namespace twinstep::daemon
