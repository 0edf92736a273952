// SPDX-License-Identifier: Apache-2.0
//
// What the control socket shows of a VM. Keys are part of the command line's interface: keep them stable.
#include <algorithm>
#include <array>

#include "daemon/vm/vm.hpp"

namespace twinstep::daemon {
namespace {

using nlohmann::json;

/// Names of enum ts_counter's values, in their order.
constexpr std::array<const char*, TS_COUNTERS> kCounterNames = {
    "tap_held",       "tap_direct",     "tap_local",       "tap_matched",  "tap_twin",      "tap_closed",
    "tap_error",      "uplink_tap",     "uplink_mirrored", "uplink_gated", "uplink_closed", "uplink_error",
    "link_delivered", "link_rewritten", "link_stale",      "link_records", "link_matched",  "link_deltas",
    "link_error",     "probes",         "probes_out"};
static_assert(kCounterNames.back() != nullptr, "every counter has a name");

void add_state(json& shown, const std::string& device, const DeviceState& state) {
  shown[device + "_sockets"] = state.zero_copy ? "zero-copy" : "copy";
  if (state.mtu_bytes != 0) shown[device + "_mtu"] = state.mtu_bytes;
  if (!state.other_programs.empty()) shown[device + "_other_programs"] = state.other_programs;
}

unsigned port_number(std::uint16_t port_be) {
  return static_cast<unsigned>(((port_be & 0xff) << 8) | (port_be >> 8));
}

json checkpoint_json(const CheckpointEntry& entry) {
  json shown = {{"epoch", entry.epoch},
                {"cause", entry.cause},
                {"pause_ns", entry.pause.total_ns()},
                {"steps",
                 {{"stop_ns", entry.pause.stop_ns},
                  {"save_ns", entry.pause.save_ns},
                  {"scan_ns", entry.pause.scan_ns},
                  {"copy_ns", entry.pause.copy_ns},
                  {"cont_ns", entry.pause.cont_ns}}},
                {"pages_dirty", entry.pages_dirty},
                {"pages_sent", entry.pages_sent},
                {"bytes_sent", entry.bytes_sent}};
  if (entry.commit_ns > 0) shown["commit_ns"] = entry.commit_ns;
  if (entry.apply_ns > 0) shown["apply_ns"] = entry.apply_ns;
  return shown;
}

json flow_json(const std::string& vm, std::size_t nic, const compare::FlowView& flow) {
  json shown = {{"vm", vm},
                {"nic", nic},
                {"vm_addr", compare::vm_address(flow.flow)},
                {"vm_port", port_number(flow.flow.vm_port_be)},
                {"peer_addr", compare::peer_address(flow.flow)},
                {"peer_port", port_number(flow.flow.peer_port_be)},
                {"state", flow.state},
                {"bytes_matched", flow.bytes_matched},
                {"frames_held", flow.frames_held},
                {"seq_delta", static_cast<std::int32_t>(flow.seq_delta)},
                {"ts_delta", static_cast<std::int32_t>(flow.ts_delta)}};
  for (const unsigned tag : flow.flow.vlan)
    if (tag != 0) shown["vlan"].push_back(tag & 0xfff);
  return shown;
}

const char* attached(bool dispatched) {
  return dispatched ? "dispatcher" : "alone";
}

json nic_json(const std::string& vm, std::size_t number, const io::MacAddress& mac, Plane& plane) {
  const NicView nic = plane.nic();
  const PlaneStats stats = plane.stats();
  json shown = {{"vm", vm},
                {"nic", number},
                {"mac", io::to_string(mac)},
                {"uplink", nic.uplink},
                {"uplink_mode", io::to_string(nic.uplink_mode)},
                {"uplink_attached", attached(nic.uplink_dispatched)},
                {"link", nic.link},
                {"link_mode", io::to_string(nic.link_mode)},
                {"link_attached", attached(nic.link_dispatched)},
                {"tap", nic.tap},
                {"tap_mode", io::to_string(nic.tap_mode)},
                {"poll", nic.busy_poll ? "busy" : "interrupt"},
                {"queues_polled", nic.queues_polled},
                {"uplink_queues", nic.uplink_queues},
                {"link_queues", nic.link_queues},
                {"guest_offloads", io::to_string(nic.guest_offloads)},
                {"frames_in", stats.compare.frames_in},
                {"frames_released", stats.compare.frames_released},
                {"frames_released_on_arrival", stats.compare.frames_released_on_arrival},
                {"flows_in_kernel", stats.compare.flows_lent},
                {"frames_released_by_commit", stats.compare.frames_released_by_commit},
                {"frames_held", stats.compare.frames_held},
                {"frames_expended", stats.compare.frames_expended},
                {"flows", stats.compare.flows},
                {"flows_half_open", stats.compare.flows_half_open},
                {"frames_unsent", stats.frames_unsent},
                {"inbound_dropped", stats.inbound_dropped},
                {"records_in", stats.compare.records_in},
                {"records_stale", stats.compare.records_stale},
                {"records_sent", stats.records_sent},
                {"record_frames_lost", stats.record_frames_lost},
                {"window_updates", stats.compare.window_updates},
                {"umem_free", stats.umem_free}};
  add_state(shown, "uplink", nic.uplink_state);
  add_state(shown, "link", nic.link_state);
  add_state(shown, "tap", nic.output_state);
  json counters = json::object();
  for (std::size_t i = 0; i < kCounterNames.size(); ++i) counters[kCounterNames[i]] = stats.xdp.count[i];
  shown["xdp"] = std::move(counters);
  return shown;
}

}  // namespace

Result<json> Vm::view() {
  return on_session_thread([this]() -> Result<json> {
    const session::View& view = machine_.view();
    json shown = {{"id", vm_id_},
                  {"name", config_.name},
                  {"role", session::to_string(view.role)},
                  {"state", session::to_string(view.state)},
                  {"generation", view.record.generation},
                  {"owner", view.record.primary},
                  {"epoch", view.epoch},
                  {"checkpoints", view.checkpoints},
                  {"checkpoints_by_cause", view.checkpoints_by_cause},
                  {"hold_ns", machine_.policy().hold_ns()},
                  {"mode", checkpoint::to_string(machine_.policy().mode())}};
    if (view.state == session::State::guarded) {
      shown["mode_effective"] = view.svm_rests ? "periodic" : "colo";
      if (view.role == session::Role::primary) shown["mode_reason"] = machine_.policy().reason();
    }
    for (const auto& nic : config_.nics) shown["nics"].push_back(io::to_string(nic.mac));
    if (!view.record.secondary.empty()) shown["secondary"] = view.record.secondary;
    if (!view.last_reason.empty()) shown["last_reason"] = view.last_reason;
    if (view.peer_lost_at_ns > 0) {
      shown["peer_lost_at_ns"] = view.peer_lost_at_ns;
      shown["detect_ns"] = view.detect_ns;
    }
    if (view.took_over_at_ns > 0) shown["took_over_at_ns"] = view.took_over_at_ns;
    if (view.protects_again_at_ns)
      shown["protects_again_in_ns"] = std::max<Nanos>(0, *view.protects_again_at_ns - io::monotonic_ns());
    if (view.attempts > 0 && view.state != session::State::guarded) shown["protect_attempt"] = view.attempts;
    if (const auto median = log_.pause_quantile_ns(0.5)) {
      shown["pause_ns_p50"] = *median;
      shown["pause_ns_max"] = log_.pause_quantile_ns(1.0).value_or(0);
    }
    std::uint64_t pages = 0;
    std::uint64_t bytes = 0;
    for (const auto& entry : log_.entries()) {
      pages += entry.pages_sent;
      bytes += entry.bytes_sent;
    }
    shown["pages_sent"] = pages;
    shown["bytes_sent"] = bytes;
    if (checkpoints_verified_ > 0) shown["checkpoints_verified"] = checkpoints_verified_;
    if (const auto sync = sync_.view()) {
      shown["sync_round"] = sync->round;
      shown["sync_pages_left"] = sync->pages_left;
      shown["sync_bytes_per_s"] = sync->bytes_per_s;
      shown["sync_left_ns"] = sync->left_ns;
      if (sync->slowdown_percent > 0) shown["sync_slowdown_percent"] = sync->slowdown_percent;
    }
    if (pairing_.sender) {
      shown["page_streams"] = pairing_.sender->streams();
      shown["page_send"] = pairing_.sender->zero_copy() ? "zero-copy" : "copied";
      shown["page_codec"] = pairing_.sender->packs() ? "lz4" : "none";
    }
    if (guest_) shown["pid"] = guest_->qemu().pid();
    if (guest_ && guest_->dirty_tracking()) shown["dirty_source"] = qemu::to_string(*guest_->dirty_tracking());
    return shown;
  });
}

Result<json> Vm::checkpoints() {
  return on_session_thread([this]() -> Result<json> {
    json shown = json::array();
    for (const auto& entry : log_.entries()) {
      json one = checkpoint_json(entry);
      one["vm"] = config_.name;
      shown.push_back(std::move(one));
    }
    return shown;
  });
}

Result<json> Vm::flows() {
  return on_session_thread([this]() -> Result<json> {
    json shown = json::array();
    if (!guest_) return shown;
    for (std::size_t nic = 0; nic < guest_->planes().size(); ++nic) {
      for (const auto& flow : guest_->planes().at(nic).flows()) shown.push_back(flow_json(config_.name, nic, flow));
    }
    return shown;
  });
}

Result<json> Vm::nics() {
  return on_session_thread([this]() -> Result<json> {
    json shown = json::array();
    if (!guest_) return shown;
    for (std::size_t nic = 0; nic < guest_->planes().size(); ++nic)
      shown.push_back(nic_json(config_.name, nic, config_.nics[nic].mac, guest_->planes().at(nic)));
    return shown;
  });
}

}  // namespace twinstep::daemon
