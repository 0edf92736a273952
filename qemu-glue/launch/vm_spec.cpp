// SPDX-License-Identifier: Apache-2.0
#include "qemu-glue/launch/vm_spec.hpp"

#include "qemu-glue/launch/user_args.hpp"

namespace twinstep::qemu {
namespace {

constexpr std::uint64_t kMiB = 1U << 20;
constexpr const char* kDefaultMachine = "q35";

using Args = std::vector<std::string>;

void append(Args& args, std::initializer_list<std::string> more) {
  args.insert(args.end(), more);
}

void append_backend(Args& args, const VmSpec& spec, const std::string& id, std::uint64_t bytes) {
  append(args, {"-object", "memory-backend-memfd,id=" + id + ",size=" + std::to_string(bytes) + ",share=on" +
                               (spec.huge_pages ? ",hugetlb=on,hugetlbsize=2M" : "")});
}

void append_memory(Args& args, const VmSpec& spec, const std::string& machine) {
  append(args, {"-m", std::to_string(spec.memory_bytes / kMiB) + "M"});
  if (spec.memory_nodes == 1) {
    append_backend(args, spec, kRamBackend, spec.memory_bytes);
    append(args, {"-machine", machine + ",memory-backend=" + kRamBackend});
    return;
  }
  append(args, {"-machine", machine});
  for (unsigned node = 0; node < spec.memory_nodes; ++node) {
    const std::string id = kRamBackend + std::to_string(node);
    append_backend(args, spec, id, spec.memory_bytes / spec.memory_nodes);
    append(args, {"-numa", "node,nodeid=" + std::to_string(node) + ",memdev=" + id});
  }
}

Result<void> check_spec(const VmSpec& spec) {
  if (spec.name.empty() || spec.name.find_first_of(",=/ ") != std::string::npos) {
    return fail("a VM's name must not be empty nor have a comma, '=', '/' or space: '" + spec.name + "'");
  }
  if (spec.memory_bytes == 0 || spec.memory_bytes % kMiB != 0) {
    return fail("the memory of VM " + spec.name + " must be a whole number of MiB, not " +
                std::to_string(spec.memory_bytes) + " bytes");
  }
  const bool parted = spec.memory_nodes != 1 || spec.huge_pages;
  if (parted && (spec.memory_nodes == 0 || spec.memory_bytes % (std::uint64_t{spec.memory_nodes} * 2 * kMiB) != 0)) {
    return fail("the memory of VM " + spec.name + " can't be parted into " + std::to_string(spec.memory_nodes) +
                " nodes of whole 2 MiB: change memory or memory_nodes");
  }
  return {};
}

/// Only virtio has a way to tell the guest; at Ethernet's own MTU there is nothing to tell.
std::string mtu_property(const NicSpec& nic) {
  constexpr unsigned kEthernetMtuBytes = 1500;
  if (nic.mtu_bytes == kEthernetMtuBytes || !nic.device.starts_with("virtio-net")) return "";
  return ",host_mtu=" + std::to_string(nic.mtu_bytes);
}

/// Until 8.1 QEMU forgets virtio-net's table of VLANs when it loads a state (virtio_net_set_features clears it after
/// vmstate has filled it), and the VM gets no tagged frame any more. Without that table it gets them all.
std::string filter_property(const NicSpec& nic) {
  return nic.device.starts_with("virtio-net") ? ",ctrl_vlan=off" : "";
}

/// Without vhostforce QEMU would go on without vhost where the kernel has none.
std::string vhost_property(const NicSpec& nic) {
  return nic.vhost ? ",vhost=on,vhostforce=on" : "";
}

}  // namespace

std::string nic_id(std::size_t number) {
  return "twinstep-nic" + std::to_string(number);
}

std::filesystem::path qmp_path(const VmSpec& spec) {
  return spec.run_dir / "qmp.sock";
}
std::filesystem::path log_path(const VmSpec& spec) {
  return spec.run_dir / "qemu.log";
}

Result<std::vector<std::string>> command_line(const VmSpec& spec) {
  if (auto checked = check_spec(spec); !checked) return tl::unexpected(checked.error());
  auto user = take_machine(spec.args);
  if (!user) return tl::unexpected(user.error());
  if (auto checked = check_user_args(user->rest, qmp_path(spec)); !checked) return tl::unexpected(checked.error());

  Args args{spec.binary, "-name", spec.name, "-nodefaults", "-no-user-config", "-display", "none"};
  append_memory(args, spec, user->machine.value_or(kDefaultMachine));
  for (std::size_t i = 0; i < spec.nics.size(); ++i) {
    const NicSpec& nic = spec.nics[i];
    const std::string id = nic_id(i);
    append(args, {"-netdev", "tap,id=" + id + ",fd=" + std::to_string(nic.tap_fd) + vhost_property(nic)});
    append(args,
           {"-device", nic.device + ",netdev=" + id + ",mac=" + nic.mac + mtu_property(nic) + filter_property(nic)});
  }
  append(args, {"-qmp", "unix:" + qmp_path(spec).string() + ",server=on,wait=off"});
  // Loading a checkpoint resets the machine first: that must not end QEMU.
  append(args, {"-action", "reboot=reset"});
  if (spec.paused) args.emplace_back("-S");
  args.insert(args.end(), user->rest.begin(), user->rest.end());
  return args;
}

}  // namespace twinstep::qemu
