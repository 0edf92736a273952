// SPDX-License-Identifier: Apache-2.0
// Runs on a kernel of the matrix: loads the XDP programs as twinstepd does, attaches each to a device of its role, and
// prints one line of JSON: the verifier's counts, the modes, and how dirty pages can be found.
//   twinstep-kernel-probe UPLINK LINK
#include <bpf/bpf.h>
#include <unistd.h>

#include <cstdint>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <string>

#include "io/tap/offload_stage.hpp"
#include "io/tap/tap.hpp"
#include "io/unique_fd.hpp"
#include "io/xdp/programs.hpp"
#include "qemu-glue/dirty/tracking.hpp"

namespace {

using nlohmann::json;
using twinstep::Result;

constexpr unsigned kMtuBytes = 1500;

/// Instructions that the verifier went through, by program. A kernel before 5.16 doesn't tell.
json verified_instructions() {
  json counts = json::object();
  for (std::uint32_t id = 0; bpf_prog_get_next_id(id, &id) == 0;) {
    const twinstep::io::UniqueFd program(bpf_prog_get_fd_by_id(id));
    bpf_prog_info info{};
    std::uint32_t size = sizeof info;
    if (program && bpf_obj_get_info_by_fd(program.get(), &info, &size) == 0) counts[info.name] = info.verified_insns;
  }
  return counts;
}

Result<json> attach_modes(twinstep::io::XdpPrograms& programs, const std::string& tap, const std::string& uplink,
                          const std::string& link) {
  using twinstep::io::to_string;
  using twinstep::io::XdpRole;
  json modes = json::object();
  for (const auto& [role, device] :
       {std::pair{XdpRole::tap, tap}, std::pair{XdpRole::uplink, uplink}, std::pair{XdpRole::link, link}}) {
    const auto attachment = programs.attach(role, device, true);
    if (!attachment) return tl::unexpected(attachment.error());
    modes[to_string(role)] = to_string(attachment->mode);
  }
  return modes;
}

/// The mode in which a tap's program runs on the devices of a guest with offloads.
Result<std::string> offload_mode(twinstep::io::XdpPrograms& programs) {
  const auto tap = twinstep::io::Tap::create("offload", kMtuBytes, twinstep::io::GuestOffloads::on);
  if (!tap) return tl::unexpected(tap.error());
  const auto stage = twinstep::io::OffloadStage::create(tap->name(), kMtuBytes);
  if (!stage) return tl::unexpected(stage.error());
  const auto attachment = programs.attach(twinstep::io::XdpRole::tap, stage->output(), true);
  if (!attachment) return tl::unexpected(attachment.error());
  return twinstep::io::to_string(attachment->mode);
}

const char* dirty_source() {
  const auto tracking = twinstep::qemu::probe_dirty_tracking();
  return tracking ? to_string(*tracking) : "none";
}

Result<json> examine(const std::string& uplink, const std::string& link) {
  const auto tap = twinstep::io::Tap::create("probe", kMtuBytes, twinstep::io::GuestOffloads::off);
  if (!tap) return tl::unexpected(tap.error());
  auto programs = twinstep::io::XdpPrograms::load();
  if (!programs) return tl::unexpected(programs.error());
  auto modes = attach_modes(*programs, tap->name(), uplink, link);
  if (!modes) return tl::unexpected(modes.error());
  const auto offload = offload_mode(*programs);
  if (!offload) return tl::unexpected(offload.error());
  (*modes)["tap with offloads"] = *offload;
  return json{
      {"attach_modes", *modes}, {"verified_instructions", verified_instructions()}, {"dirty_source", dirty_source()}};
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) {
    std::fputs("usage: twinstep-kernel-probe UPLINK LINK\n", stderr);
    return 2;
  }
  const auto report = examine(argv[1], argv[2]);
  if (!report) std::printf("%s\n", json{{"error", report.error().message}}.dump().c_str());
  if (report) std::printf("%s\n", report->dump().c_str());
  return report ? 0 : 1;
}
