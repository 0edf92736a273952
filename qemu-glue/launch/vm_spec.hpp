// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "core/result.hpp"

namespace twinstep::qemu {

/// A NIC of the VM, on a tap that the caller made.
struct NicSpec {
  int tap_fd = -1;  ///< open tap queue; stays the caller's
  std::string mac;  ///< aa:bb:cc:dd:ee:ff
  std::string device = "virtio-net-pci";
  unsigned mtu_bytes = 1500;  ///< a virtio guest learns it; another one must be told by hand if it isn't 1500
  bool vhost = false;         ///< the host's kernel works on the queues (vhost-net); virtio-net only
};

/// How a QEMU is to be started.
struct VmSpec {
  std::string name;
  std::string binary = "qemu-system-x86_64";
  std::vector<std::string> args;   ///< the user's own QEMU arguments
  std::uint64_t memory_bytes = 0;  ///< whole MiB
  unsigned memory_nodes = 1;       ///< NUMA nodes of the guest, each with an equal part of the memory
  bool huge_pages = false;         ///< memory from the host's reserve of 2 MiB pages
  std::vector<NicSpec> nics;
  std::filesystem::path run_dir;  ///< exists; gets qemu.log and qmp.sock
  bool paused = false;            ///< with vCPUs stopped from the first instruction, as a secondary needs it
};

/// The name of guest RAM's backend in QEMU; with several nodes their numbers follow it.
inline constexpr const char* kRamBackend = "twinstep-ram";

/// The id of the network backend of the VM's NIC `number`, which counts from 0: its name in QEMU.
std::string nic_id(std::size_t number);

std::filesystem::path qmp_path(const VmSpec& spec);
std::filesystem::path log_path(const VmSpec& spec);

/// The whole command line, binary first. Pure. An Error names the user's argument that cannot be combined with
/// protection, and why.
Result<std::vector<std::string>> command_line(const VmSpec& spec);

}  // namespace twinstep::qemu
