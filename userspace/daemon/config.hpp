// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "core/checkpoint/mode.hpp"
#include "core/result.hpp"
#include "core/time.hpp"
#include "io/tap/tap.hpp"

namespace twinstep::daemon {

struct HostConfig {
  std::string name;                                 ///< 1..63 of a-z A-Z 0-9 . _ -, as the other host's [peer] names it
  std::filesystem::path run_dir = "/run/twinstep";  ///< absolute; made if missing
};

struct PeerConfig {
  std::string name;
  std::string address;  ///< numeric, on the link
};

struct LinkConfig {
  std::string device;         ///< network device toward the other host, and nothing else
  std::string address;        ///< numeric, this host's on that device
  std::uint16_t port = 7600;  ///< 1024..65535; TCP for control, UDP for heartbeats; the same on both hosts
};

struct ArbiterConfig {
  std::filesystem::path path;  ///< absolute: a directory on storage that both hosts see
};

struct TimingConfig {
  Nanos heartbeat_ns = 25 * kMillisecond;  ///< 1..1000 ms
  Nanos peer_timeout_ns =
      300 * kMillisecond;             ///< 10..60000 ms and at least 3 heartbeats: silence that means a lost peer
  Nanos epoch_max_ns = 10 * kSecond;  ///< 100..600000 ms: longest time between checkpoints
  Nanos hold_initial_ns = 100 * kMillisecond;  ///< 20..500 ms: HOLD until a checkpoint was measured
  Nanos period_ns = 25 * kMillisecond;         ///< 1..10000 ms: mode periodic, time between checkpoints
};

/// How the memory of the VMs is copied to the other host.
struct MemoryConfig {
  std::uint64_t epoch_bytes_max = 0;  ///< 1M..1024G: most memory of a VM that one checkpoint may carry; 0: all of it
  std::uint64_t copy_bytes_per_s_max = 0;  ///< 0, 1..1000000 Mbit/s: what is copied beside running VMs; 0: no limit
  std::uint32_t streams = 1;               ///< 1..8: TCP connections over which a VM's memory goes at the same time
  Nanos ahead_ns = kSecond;  ///< 0, 100..60000 ms: how often pages are sent ahead of a checkpoint; 0: never
  bool verify = false;       ///< compare all of a VM's memory at each checkpoint
};

/// Bounds of what each NIC of a VM may use on its host.
struct VmLimits {
  std::uint32_t umem_frames = 16384;          ///< 1024..1048576, a power of two: chunks of packet memory, 4 KiB each
  std::uint32_t held_frames_max = 8192;       ///< 64..524288: held frames that cause a checkpoint
  std::uint32_t flows_max = 65536;            ///< 256..1048576: TCP connections that are compared at the same time
  std::uint32_t half_open_flows_max = 16384;  ///< 256..1048576: those of strangers, beside flows_max
  std::uint32_t kernel_flows_max = 1024;      ///< 0..4096: connections that the XDP programs may compare; 0: none
  std::uint32_t segments_max = 1024;          ///< 16..65536: of one connection, waiting for a gap to close
  std::uint32_t replay_frames_max = 512;      ///< 16..65536: the SVM's latest output, kept for a failover
  std::uint32_t inbound_frames_max = 4096;    ///< 64..1048576: clients' frames kept while the PVM stands still
};

struct NicConfig {
  std::string uplink;  ///< network device toward the clients; several NICs may have the same
  std::array<std::uint8_t, 6> mac{};
  std::string model = "virtio-net-pci";
  bool vhost_net = false;  ///< the NIC's queues are worked on in the host's kernel; virtio-net only
  io::GuestOffloads guest_offloads = io::GuestOffloads::on;  ///< on: where the kernel can finish what the guest leaves
  bool busy_poll = false;  ///< one processor does nothing but its packets; otherwise it waits for interrupts
};

struct VmConfig {
  std::string name;                ///< as HostConfig::name
  std::string home;                ///< the host that starts the VM the first time
  std::uint64_t memory_bytes = 0;  ///< 16M..1024G, whole MiB
  unsigned memory_nodes = 1;       ///< 1..8: NUMA nodes of the guest, each with an equal part of the memory
  bool huge_pages = false;         ///< memory from the host's reserve of 2 MiB pages
  std::vector<NicConfig> nics;     ///< 1..4 (wire::kNicsMax), in the order in which the guest finds them
  std::string qemu = "qemu-system-x86_64";
  std::vector<std::string> qemu_args;
  checkpoint::Mode mode = checkpoint::Mode::colo;
  VmLimits limits;
};

struct Config {
  HostConfig host;
  PeerConfig peer;
  LinkConfig link;
  ArbiterConfig arbiter;
  TimingConfig timing;
  MemoryConfig memory;
  std::vector<VmConfig> vms;  ///< 1..64 (TS_SLOTS_MAX), names and the NICs' MAC addresses all different
};

/// Reads the configuration file. Errors name the file, the line and the key, and say what is expected there. Keys that
/// nobody knows are errors.
Result<Config> load_config(const std::filesystem::path& file);

/// The same for text; `file` is only named in errors.
Result<Config> parse_config(std::string_view text, const std::string& file);

/// Of what must be the same on both hosts for one to run the other's VM: name, memory, QEMU arguments and the MAC,
/// model and vhost of each NIC, without the values of options that only name a place on the host (-serial, -chardev,
/// -kernel and the like).
std::uint64_t definition_hash(const VmConfig& vm);

}  // namespace twinstep::daemon
