// SPDX-License-Identifier: Apache-2.0
#include "daemon/config.hpp"

#include <xxhash.h>

#include <algorithm>
#include <bit>
#include <charconv>
#include <fstream>
#include <iterator>
#include <optional>
#include <set>

#include "bpf/abi/twinstep_abi.h"
#include "bpf/abi/twinstep_match.h"
#include "daemon/config_reader.hpp"
#include "io/page_stream.hpp"
#include "io/socket.hpp"
#include "wire/bodies.hpp"

namespace twinstep::daemon {
namespace {

using MacSet = std::set<std::array<std::uint8_t, 6>>;

constexpr std::uint64_t kMiB = std::uint64_t{1} << 20;
constexpr std::uint64_t kGiB = std::uint64_t{1} << 30;
constexpr std::size_t kNameCharsMax = 63;
constexpr std::size_t kDeviceCharsMax = 15;  // IFNAMSIZ without the terminator
constexpr std::int64_t kHeartbeatsInTimeoutMin = 3;

bool is_name(std::string_view text) {
  constexpr std::string_view kAllowed = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";
  return !text.empty() && text.size() <= kNameCharsMax && text.front() != '.' && text.front() != '-' &&
         text.find_first_not_of(kAllowed) == std::string_view::npos;
}

/// The name of a host or a VM; it becomes part of file names.
std::string name(ConfigTable& table, std::string_view key) {
  auto value = table.string(key);
  if (!value.empty() && !is_name(value))
    table.error(key, "must be 1 to 63 letters, digits, '.', '_' or '-', and begin with a letter or digit");
  return value;
}

std::string device(ConfigTable& table, std::string_view key) {
  auto value = table.string(key);
  if (value.size() > kDeviceCharsMax || value.find('/') != std::string::npos)
    table.error(key, "must be the name of a network device, at most 15 characters");
  return value;
}

std::string address(ConfigTable& table, std::string_view key) {
  auto value = table.string(key);
  if (!value.empty() && !io::SocketAddress::parse(value, 0))
    table.error(key, "must be a numeric IPv4 or IPv6 address: names are not resolved");
  return value;
}

std::filesystem::path absolute_path(ConfigTable& table, std::string_view key,
                                    const std::optional<std::string>& fallback = std::nullopt) {
  std::filesystem::path value = table.string(key, fallback);
  if (!value.empty() && !value.is_absolute()) table.error(key, "must be an absolute path");
  return value;
}

std::optional<std::array<std::uint8_t, 6>> parse_mac(std::string_view text) {
  constexpr std::size_t kTextChars = 17;  // aa:bb:cc:dd:ee:ff
  std::array<std::uint8_t, 6> mac{};
  if (text.size() != kTextChars) return std::nullopt;
  for (std::size_t i = 0; i < mac.size(); ++i) {
    const auto digits = text.substr(3 * i, 2);
    const auto [end, code] = std::from_chars(digits.data(), digits.data() + 2, mac[i], 16);
    if (code != std::errc{} || end != digits.data() + 2) return std::nullopt;
    if (i + 1 < mac.size() && text[3 * i + 2] != ':') return std::nullopt;
  }
  return mac;
}

std::array<std::uint8_t, 6> mac(ConfigTable& table, std::string_view key) {
  const auto text = table.string(key);
  const auto value = parse_mac(text);
  if (value && (value->front() & 1) == 0 && *value != std::array<std::uint8_t, 6>{}) return *value;
  table.error(key, "must be the MAC address of one device, as in \"52:54:00:12:34:56\"");
  return {};
}

Nanos milliseconds(ConfigTable& table, std::string_view key, Nanos fallback_ns, std::int64_t min, std::int64_t max) {
  return table.integer(key, fallback_ns / kMillisecond, min, max) * kMillisecond;
}

checkpoint::Mode mode(ConfigTable& table, std::string_view key, checkpoint::Mode fallback) {
  const auto value = checkpoint::mode_of(table.string(key, checkpoint::to_string(fallback)));
  if (!value) table.error(key, "must be \"colo\", \"periodic\" or \"auto\"");
  return value.value_or(fallback);
}

HostConfig read_host(ConfigTable table) {
  HostConfig host;
  host.name = name(table, "name");
  host.run_dir = absolute_path(table, "run_dir", host.run_dir.string());
  table.refuse_unknown();
  return host;
}

PeerConfig read_peer(ConfigTable table, const HostConfig& host) {
  PeerConfig peer;
  peer.name = name(table, "name");
  peer.address = address(table, "address");
  if (peer.name == host.name) table.error("name", "is also this host's name: the two must differ");
  table.refuse_unknown();
  return peer;
}

LinkConfig read_link(ConfigTable table, const PeerConfig& peer) {
  LinkConfig link;
  link.device = device(table, "device");
  link.address = address(table, "address");
  link.port = static_cast<std::uint16_t>(table.integer("port", link.port, 1024, 65535));
  if (link.address == peer.address) table.error("address", "is also the peer's: give this host's own");
  table.refuse_unknown();
  return link;
}

ArbiterConfig read_arbiter(ConfigTable table) {
  ArbiterConfig arbiter;
  if (table.string("type") != "file") table.error("type", "must be \"file\"");
  arbiter.path = absolute_path(table, "path");
  table.refuse_unknown();
  return arbiter;
}

TimingConfig read_timing(ConfigTable table) {
  TimingConfig timing;
  timing.heartbeat_ns = milliseconds(table, "heartbeat_ms", timing.heartbeat_ns, 1, 1000);
  timing.peer_timeout_ns = milliseconds(table, "peer_timeout_ms", timing.peer_timeout_ns, 10, 60000);
  timing.epoch_max_ns = milliseconds(table, "epoch_ms_max", timing.epoch_max_ns, 100, 600000);
  timing.hold_initial_ns = milliseconds(table, "hold_ms_initial", timing.hold_initial_ns, 20, 500);
  timing.period_ns = milliseconds(table, "period_ms", timing.period_ns, 1, 10000);
  if (timing.peer_timeout_ns < kHeartbeatsInTimeoutMin * timing.heartbeat_ns)
    table.error("peer_timeout_ms",
                "must be at least three times heartbeat_ms, or one late heartbeat ends the protection");
  table.refuse_unknown();
  return timing;
}

MemoryConfig read_memory(ConfigTable table) {
  MemoryConfig memory;
  memory.epoch_bytes_max = table.bytes("epoch_bytes_max", kMiB, 1024 * kGiB, memory.epoch_bytes_max);
  constexpr std::int64_t kMbitBytes = 1'000'000 / 8;
  memory.copy_bytes_per_s_max =
      static_cast<std::uint64_t>(table.integer("copy_mbit_max", 0, 0, 1'000'000) * kMbitBytes);
  memory.streams = static_cast<std::uint32_t>(table.integer("streams", memory.streams, 1, io::kPageStreamsMax));
  memory.ahead_ns = milliseconds(table, "ahead_ms", memory.ahead_ns, 0, 60000);
  if (memory.ahead_ns > 0 && memory.ahead_ns < 100 * kMillisecond) table.error("ahead_ms", "must be 0 or at least 100");
  memory.verify = table.boolean("verify", memory.verify);
  table.refuse_unknown();
  return memory;
}

VmLimits read_limits(ConfigTable table) {
  VmLimits limits;
  const auto read = [&](const char* key, std::uint32_t& value, std::int64_t min, std::int64_t max) {
    value = static_cast<std::uint32_t>(table.integer(key, value, min, max));
  };
  read("umem_frames", limits.umem_frames, 1024, 1048576);
  read("held_frames_max", limits.held_frames_max, 64, 524288);
  read("flows_max", limits.flows_max, 256, 1048576);
  read("half_open_flows_max", limits.half_open_flows_max, 256, 1048576);
  read("kernel_flows_max", limits.kernel_flows_max, 0, TS_MATCH_FLOWS_MAX);
  read("segments_max", limits.segments_max, 16, 65536);
  read("replay_frames_max", limits.replay_frames_max, 16, 65536);
  read("inbound_frames_max", limits.inbound_frames_max, 64, 1048576);
  if (!std::has_single_bit(limits.umem_frames)) table.error("umem_frames", "must be a power of two");
  table.refuse_unknown();
  return limits;
}

io::GuestOffloads guest_offloads(ConfigTable& table) {
  const auto text = table.string("guest_offloads", "on");
  if (text != "on" && text != "off") table.error("guest_offloads", "must be \"on\" or \"off\"");
  return text == "off" ? io::GuestOffloads::off : io::GuestOffloads::on;
}

bool busy_poll(ConfigTable& table) {
  const auto text = table.string("poll", "interrupt");
  if (text != "interrupt" && text != "busy") table.error("poll", "must be \"interrupt\" or \"busy\"");
  return text == "busy";
}

NicConfig read_nic(ConfigTable& table, const LinkConfig& link) {
  NicConfig nic;
  nic.uplink = device(table, "uplink");
  nic.mac = mac(table, "mac");
  nic.model = table.string("model", nic.model);
  nic.vhost_net = table.boolean("vhost_net", nic.vhost_net);
  if (nic.vhost_net && !nic.model.starts_with("virtio-net"))
    table.error("vhost_net", "needs a virtio-net NIC, and model is \"" + nic.model + "\"");
  nic.guest_offloads = guest_offloads(table);
  nic.busy_poll = busy_poll(table);
  if (nic.uplink == link.device) table.error("uplink", "is also the link's device: the two must differ");
  table.refuse_unknown();
  return nic;
}

/// macs: of all NICs read so far.
std::vector<NicConfig> read_nics(ConfigTable& vm, const LinkConfig& link, MacSet& macs, ConfigErrors& errors) {
  const toml::array* tables = vm.tables("nic");
  std::vector<NicConfig> nics;
  if (tables == nullptr || tables->size() > wire::kNicsMax) {
    vm.error("nic", "there must be 1 to " + std::to_string(wire::kNicsMax) + " NICs, each in a table [[vm.nic]]");
    return nics;
  }
  for (const auto& element : *tables) {
    ConfigTable table(element.as_table(), "vm.nic", element.source().begin.line, errors);
    nics.push_back(read_nic(table, link));
    if (!macs.insert(nics.back().mac).second) table.error("mac", "is the MAC address of two NICs");
  }
  return nics;
}

VmConfig read_vm(ConfigTable& table, const Config& config, MacSet& macs, ConfigErrors& errors) {
  VmConfig vm;
  vm.name = name(table, "name");
  vm.home = name(table, "home");
  vm.memory_bytes = table.bytes("memory", 16 * kMiB, 1024 * kGiB);
  vm.memory_nodes = static_cast<unsigned>(table.integer("memory_nodes", vm.memory_nodes, 1, 8));
  vm.huge_pages = table.boolean("huge_pages", vm.huge_pages);
  const std::uint64_t part_bytes = std::uint64_t{vm.memory_nodes} * 2 * kMiB;
  if ((vm.memory_nodes > 1 || vm.huge_pages) && vm.memory_bytes % part_bytes != 0)
    table.error("memory", "must be a multiple of " + std::to_string(part_bytes / kMiB) +
                              " MiB with this huge_pages and memory_nodes");
  vm.qemu = table.string("qemu", vm.qemu);
  vm.qemu_args = table.strings("qemu_args");
  vm.mode = mode(table, "mode", vm.mode);
  vm.limits = read_limits(table.table("limits"));
  vm.nics = read_nics(table, config.link, macs, errors);
  if (vm.home != config.host.name && vm.home != config.peer.name)
    table.error("home", "must be one of the two hosts, \"" + config.host.name + "\" or \"" + config.peer.name + "\"");
  if (vm.memory_bytes % kMiB != 0) table.error("memory", "must be a whole number of MiB");
  table.refuse_unknown();
  return vm;
}

void read_vms(ConfigTable& root, Config& config, ConfigErrors& errors) {
  const toml::array* tables = root.tables("vm");
  if (tables == nullptr || tables->size() > TS_SLOTS_MAX)
    return root.error("vm", "there must be 1 to " + std::to_string(TS_SLOTS_MAX) + " VMs, each in a table [[vm]]");
  std::set<std::string> names;
  MacSet macs;
  for (const auto& element : *tables) {
    ConfigTable table(element.as_table(), "vm", element.source().begin.line, errors);
    config.vms.push_back(read_vm(table, config, macs, errors));
    if (!names.insert(config.vms.back().name).second) table.error("name", "is the name of two VMs");
  }
}

/// QEMU options whose values only say where something is on this host, or where its output goes.
bool names_a_place(std::string_view option) {
  static const std::set<std::string_view> kOptions = {"serial", "parallel", "chardev", "monitor", "kernel",
                                                      "initrd", "pidfile",  "display", "vnc",     "D"};
  option.remove_prefix(std::min(option.find_first_not_of('-'), option.size()));
  return kOptions.contains(option);
}

}  // namespace

Result<Config> parse_config(std::string_view text, const std::string& file) {
  toml::table document;
  try {
    document = toml::parse(text);
  } catch (const toml::parse_error& error) {
    return fail(file + ":" + std::to_string(error.source().begin.line) +
                ": not valid TOML: " + std::string(error.description()));
  }
  ConfigErrors errors(file);
  ConfigTable root(&document, "", 0, errors);
  Config config;
  config.host = read_host(root.table("host"));
  config.peer = read_peer(root.table("peer"), config.host);
  config.link = read_link(root.table("link"), config.peer);
  config.arbiter = read_arbiter(root.table("arbiter"));
  config.timing = read_timing(root.table("timing"));
  config.memory = read_memory(root.table("memory"));
  read_vms(root, config, errors);
  root.refuse_unknown();
  if (errors.first()) return tl::unexpected(*errors.first());
  return config;
}

Result<Config> load_config(const std::filesystem::path& file) {
  std::ifstream stream(file, std::ios::binary);
  if (!stream)
    return fail("cannot read the configuration file " + file.string() + ": create it, or name another with --config");
  const std::string text(std::istreambuf_iterator<char>(stream), {});
  return parse_config(text, file.string());
}

std::uint64_t definition_hash(const VmConfig& vm) {
  std::string text = vm.name + '\0' + std::to_string(vm.memory_bytes) + '\0' + std::to_string(vm.memory_nodes) + '\0' +
                     std::to_string(vm.nics.size()) + '\0';
  for (const auto& nic : vm.nics) {
    text += nic.model + '\0' + (nic.vhost_net ? "vhost" : "") + '\0';
    text.append(nic.mac.begin(), nic.mac.end());
  }
  bool is_place = false;
  for (const auto& argument : vm.qemu_args) {
    if (!is_place) text += argument;
    text += '\0';
    is_place = !is_place && argument.starts_with('-') && names_a_place(argument);
  }
  return XXH3_64bits(text.data(), text.size());
}

}  // namespace twinstep::daemon
