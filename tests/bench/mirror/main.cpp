// SPDX-License-Identifier: Apache-2.0
// The SVM's side of a mirrored VM: feeds the SVM with what the PVM's clients send, as fast as the SVM can take it.
#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <sys/resource.h>

#include <CLI/CLI.hpp>
#include <array>
#include <csignal>
#include <cstdio>
#include <iostream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "core/compare/flow_key.hpp"
#include "io/os_error.hpp"
#include "packet_port.hpp"
#include "svm_input.hpp"

namespace twinstep::bench {
namespace {

volatile std::sig_atomic_t stop_asked = 0;

constexpr int kIdleMs = 100;
constexpr int kRetryMs = 1;

double cpu_seconds() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  const auto seconds = [](const timeval& time) {
    return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) / 1e6;
  };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

Result<io::MacAddress> mac_of(const std::string& text) {
  io::MacAddress mac{};
  if (std::sscanf(text.c_str(), "%hhx:%hhx:%hhx:%hhx:%hhx:%hhx", &mac[0], &mac[1], &mac[2], &mac[3], &mac[4],
                  &mac[5]) != 6)
    return fail("\"" + text + "\" is no MAC address");
  return mac;
}

/// The link program takes the client's next acknowledgement after this opening for the PVM's initial number, which
/// holds only where output waits for the SVM.
std::uint32_t forget(const std::vector<io::UniqueFd>& maps, const ConnectionKey& key) {
  const auto flow =
      compare::FlowKey::tcp4(htonl(key.vm), htonl(key.client), htons(key.vm_port), htons(key.client_port));
  ts_flow_state state{};
  for (const auto& map : maps) {
    if (bpf_map_lookup_elem(map.get(), &flow, &state) == 0) bpf_map_delete_elem(map.get(), &flow);
  }
  return state.seq_delta;
}

Result<std::vector<io::UniqueFd>> open_maps(const std::vector<std::uint32_t>& ids) {
  std::vector<io::UniqueFd> maps;
  for (const auto id : ids) {
    maps.emplace_back(bpf_map_get_fd_by_id(id));
    if (!maps.back()) return io::fail_os("cannot open the BPF map " + std::to_string(id));
  }
  return maps;
}

Result<void> run(const std::string& device, const std::string& tap, const std::string& mac_text,
                 const std::vector<io::UniqueFd>& maps) {
  const auto mac = mac_of(mac_text);
  if (!mac) return tl::unexpected(mac.error());
  auto port = PacketPort::open(device, tap, *mac);
  if (!port) return tl::unexpected(port.error());
  SvmInput input([&](const Bytes& frame) { return (*port)->deliver(frame); },
                 [&](const ConnectionKey& key) { return forget(maps, key); });
  std::cout << nlohmann::json{{"ifindex", (*port)->ifindex()}} << std::endl;
  bool blocked = false;
  while (stop_asked == 0) {
    (*port)->receive(blocked ? kRetryMs : kIdleMs, [&](std::span<const std::byte> frame, bool from_vm) {
      if (from_vm)
        input.on_svm(frame);
      else
        input.on_client(Bytes(frame.begin(), frame.end()));
    });
    blocked = input.pump();
  }
  std::cout << nlohmann::json{{"cpu_s", cpu_seconds()},
                              {"frames_lost", (*port)->lost() + input.dropped()},
                              {"bytes_waiting_max", input.waiting_bytes_peak()}}
            << std::endl;
  return {};
}

int main_of(int argc, char** argv) {
  CLI::App app{"Feeds a mirrored secondary VM"};
  std::string device;
  std::string tap;
  std::string mac;
  std::vector<std::uint32_t> map_ids;
  app.add_option("--map", map_ids, "Ids of the BPF maps with what the link program knows of connections");
  app.add_option("--device", device, "Name of the veth device to make")->required();
  app.add_option("--tap", tap, "The SVM's tap")->required();
  app.add_option("--mac", mac, "The VM's MAC address")->required();
  CLI11_PARSE(app, argc, argv);
  std::signal(SIGTERM, [](int) { stop_asked = 1; });
  const auto done = open_maps(map_ids).and_then([&](const auto& maps) { return run(device, tap, mac, maps); });
  if (done) return 0;
  std::cerr << "Error: " << done.error().message << '\n';
  return 1;
}

}  // namespace
}  // namespace twinstep::bench

int main(int argc, char** argv) {
  try {
    return twinstep::bench::main_of(argc, argv);
  } catch (const std::exception& error) {
    std::cerr << "Error: " << error.what() << '\n';
    return 1;
  }
}
