// SPDX-License-Identifier: Apache-2.0
#include "qemu-glue/launch/user_args.hpp"

#include <algorithm>
#include <array>
#include <string_view>

namespace twinstep::qemu {
namespace {

struct Refusal {
  std::string_view option;  // without its dashes
  std::string_view part;    // of the value that is refused; empty: the option as such
  std::string_view reason;
};

constexpr std::string_view kOwnMemory =
    "Twinstep lays out the VM's memory itself: give its size in the VM's definition";
constexpr std::string_view kOwnNetwork = "Twinstep makes the VM's NICs itself: give it a [[vm.nic]] in its definition";
constexpr std::string_view kOwnState = "Twinstep loads the VM's state itself";
constexpr std::string_view kDisplayMemory =
    "a display adapter's memory is not covered by checkpoints: use the serial console";
constexpr std::string_view kDisk = "writable disks are not replicated yet";
constexpr std::string_view kEndsOnReset = "loading a checkpoint resets the machine, and QEMU would end";
constexpr std::string_view kOwnProcess = "Twinstep starts and watches QEMU's process itself";

constexpr std::array kRefusals = std::to_array<Refusal>({
    {"no-reboot", "", kEndsOnReset},
    {"action", "reboot=shutdown", kEndsOnReset},
    {"m", "", kOwnMemory},
    {"mem-path", "", kOwnMemory},
    {"object", "memory-backend-", kOwnMemory},
    {"numa", "mem", kOwnMemory},
    {"device", "pc-dimm", kOwnMemory},
    {"device", "nvdimm", kOwnMemory},
    {"device", "virtio-mem", kOwnMemory},
    {"incoming", "", kOwnState},
    {"loadvm", "", kOwnState},
    {"S", "", kOwnState},
    {"preconfig", "", kOwnState},
    {"snapshot", "", "temporary disk snapshots cannot be replicated"},
    {"nic", "", kOwnNetwork},
    {"net", "", kOwnNetwork},
    {"netdev", "", kOwnNetwork},
    {"device", "VGA", kDisplayMemory},
    {"device", "qxl", kDisplayMemory},
    {"device", "virtio-vga", kDisplayMemory},
    {"device", "virtio-gpu", kDisplayMemory},
    {"device", "vhost-", "state kept in the host's kernel or another process is not covered by checkpoints"},
    {"device", "vfio-", "a passed-through device's state is not covered by checkpoints"},
    {"device", "bochs-display", kDisplayMemory},
    {"device", "cirrus-vga", kDisplayMemory},
    {"device", "vmware-svga", kDisplayMemory},
    {"device", "secondary-vga", kDisplayMemory},
    {"device", "isa-vga", kDisplayMemory},
    {"device", "ramfb", kDisplayMemory},
    {"nographic", "", "it would put the console on Twinstep's own: use -serial"},
    {"hda", "", kDisk},
    {"hdb", "", kDisk},
    {"hdc", "", kDisk},
    {"hdd", "", kDisk},
    {"sd", "", kDisk},
    {"pflash", "", kDisk},
    {"daemonize", "", kOwnProcess},
    {"runas", "", kOwnProcess},
    {"chroot", "", kOwnProcess},
    {"readconfig", "", "options from a file can't be checked: give them as arguments"},
});

// The option's name if the argument is one: QEMU takes one dash or two.
std::optional<std::string_view> option_name(std::string_view argument) {
  if (!argument.starts_with('-') || argument.size() == 1) return std::nullopt;
  argument.remove_prefix(argument.starts_with("--") ? 2 : 1);
  return argument;
}

tl::unexpected<Error> refuse(const std::string& argument, const std::string& value, std::string_view reason) {
  return fail("the QEMU argument " + argument + (value.empty() ? "" : " " + value) +
              " can't be used: " + std::string(reason));
}

bool is_read_only(std::string_view value) {
  return value.find("readonly=on") != std::string_view::npos || value.find("read-only=on") != std::string_view::npos ||
         value.find("media=cdrom") != std::string_view::npos;
}

// What depends on more of the value than one part.
Result<void> check_value(const std::string& argument, std::string_view option, const std::string& value,
                         const std::string& qmp_path) {
  if ((option == "vga" || option == "display") && value != "none") return refuse(argument, value, kDisplayMemory);
  if ((option == "drive" || option == "blockdev") && !is_read_only(value)) return refuse(argument, value, kDisk);
  const bool monitor =
      option == "qmp" || option == "qmp-pretty" || option == "chardev" || option == "monitor" || option == "serial";
  if (monitor && value.find(qmp_path) != std::string::npos) {
    return refuse(argument, value, "this socket is Twinstep's own, choose another path");
  }
  return {};
}

}  // namespace

Result<UserArgs> take_machine(const std::vector<std::string>& args) {
  UserArgs user;
  for (std::size_t i = 0; i < args.size(); ++i) {
    const auto option = option_name(args[i]);
    if (option != "machine" && option != "M") {
      user.rest.push_back(args[i]);
      continue;
    }
    if (i + 1 == args.size()) return fail("the QEMU argument " + args[i] + " lacks its value");
    const std::string& value = args[++i];
    if (user.machine) return refuse(args[i - 1], value, "a machine is given already");
    if (value.find("memory-backend=") != std::string::npos) return refuse(args[i - 1], value, kOwnMemory);
    user.machine = value;
  }
  return user;
}

Result<void> check_user_args(const std::vector<std::string>& args, const std::filesystem::path& qmp_path) {
  for (std::size_t i = 0; i < args.size(); ++i) {
    const auto option = option_name(args[i]);
    if (!option) continue;
    const std::string value = i + 1 < args.size() && !option_name(args[i + 1]) ? args[i + 1] : "";
    const auto* const refusal = std::find_if(kRefusals.begin(), kRefusals.end(), [&](const Refusal& candidate) {
      return candidate.option == *option && (candidate.part.empty() || value.find(candidate.part) != std::string::npos);
    });
    if (refusal != kRefusals.end()) return refuse(args[i], value, refusal->reason);
    if (auto checked = check_value(args[i], *option, value, qmp_path.string()); !checked) return checked;
  }
  return {};
}

}  // namespace twinstep::qemu
