// SPDX-License-Identifier: Apache-2.0
#include "qemu-glue/devices/coverage.hpp"

#include <algorithm>
#include <array>
#include <optional>
#include <set>
#include <sstream>
#include <string>
#include <string_view>

#include "qemu-glue/launch/vm_spec.hpp"

namespace twinstep::qemu {
namespace {

constexpr Milliseconds kTimeout{5000};

/// Where QEMU keeps devices: those that the user named, those he did not, and the board's own.
constexpr std::array<const char*, 3> kContainers = {"/machine/peripheral", "/machine/peripheral-anon",
                                                    "/machine/unattached"};

struct Refusal {
  std::string_view type;  // a QOM type's name begins so
  std::string_view reason;
};

constexpr std::string_view kHostDevice = "it is the host's own device, whose state can't be copied";
constexpr std::string_view kHostState = "part of its state is in the host's kernel or in another process";
constexpr std::string_view kDisplay = "its memory is outside the VM's RAM and isn't copied";

constexpr auto kRefusals = std::to_array<Refusal>({
    {"vfio-", kHostDevice},
    {"usb-host", kHostDevice},
    {"scsi-block", kHostDevice},
    {"scsi-generic", kHostDevice},
    {"tpm-", kHostState},
    {"vhost-", kHostState},
    {"virtio-9p", kHostState},
    {"virtio-fs", kHostState},
    {"ivshmem", "its memory is shared with other VMs"},
    {"VGA", kDisplay},
    {"secondary-vga", kDisplay},
    {"isa-vga", kDisplay},
    {"cirrus-vga", kDisplay},
    {"isa-cirrus-vga", kDisplay},
    {"vmware-svga", kDisplay},
    {"bochs-display", kDisplay},
    {"qxl", kDisplay},
    {"ramfb", kDisplay},
    {"virtio-vga", kDisplay},
    {"virtio-gpu", kDisplay},
    {"virtio-mem", "it changes the VM's memory"},
    {"virtio-pmem", "its memory is a file of the host's"},
    {"pc-dimm", "hot-plugged memory isn't copied"},
    {"nvdimm", "its memory is a file of the host's"},
    {"nvme", "QEMU can't save its state"},
    {"sgx-epc", "its memory is encrypted"},
});

tl::unexpected<Error> refuse(const std::string& device, std::string_view reason) {
  return fail("can't be protected because of the device " + device + ": " + std::string(reason));
}

/// "child<TYPE>" of a QOM listing; empty: the property is none.
std::string child_type(const Json& property) {
  constexpr std::string_view kPrefix = "child<";
  const std::string type = property.value("type", "");
  if (!type.starts_with(kPrefix)) return {};
  return type.substr(kPrefix.size(), type.size() - kPrefix.size() - 1);
}

Result<void> check_types(QmpClient& qmp) {
  for (const char* container : kContainers) {
    const auto listed = qmp.execute("qom-list", {{"path", container}}, kTimeout);
    if (!listed) return tl::unexpected(listed.error());
    for (const Json& property : *listed) {
      const std::string type = child_type(property);
      const auto* const refusal = std::find_if(kRefusals.begin(), kRefusals.end(), [&](const Refusal& candidate) {
        return type.starts_with(candidate.type);
      });
      if (refusal == kRefusals.end()) continue;
      return refuse(type + " (" + container + "/" + property.value("name", "") + ")", refusal->reason);
    }
  }
  return {};
}

/// The network backend of a device; nothing if it is no NIC. One without a backend has the name "".
Result<std::optional<std::string>> backend_of(QmpClient& qmp, const std::string& path) {
  const auto listed = qmp.execute("qom-list", {{"path", path}}, kTimeout);
  if (!listed) return tl::unexpected(listed.error());
  std::set<std::string> properties;
  for (const Json& property : *listed) properties.insert(property.value("name", ""));
  if (!properties.contains("netdev") || !properties.contains("mac")) return std::nullopt;
  const auto backend = qmp.execute("qom-get", {{"path", path}, {"property", "netdev"}}, kTimeout);
  if (!backend) return tl::unexpected(backend.error());
  return backend->get<std::string>();
}

/// Takes a container's NICs out of `missing`; an Error for one that isn't there.
Result<void> check_nics_in(QmpClient& qmp, const std::string& container, std::set<std::string>& missing) {
  const auto listed = qmp.execute("qom-list", {{"path", container}}, kTimeout);
  if (!listed) return tl::unexpected(listed.error());
  for (const Json& property : *listed) {
    const std::string type = child_type(property);
    if (type.empty()) continue;
    const std::string path = container + "/" + property.value("name", "");
    const auto backend = backend_of(qmp, path);
    if (!backend) return tl::unexpected(backend.error());
    if (*backend && missing.erase(**backend) == 0)
      return refuse(
          std::string(type).append(" (").append(path).append(")"),
          "it is a NIC that the configuration doesn't have; unplug it, or give the VM a [[vm.nic]] for it and "
          "start the VM anew");
  }
  return {};
}

Result<void> check_nics(QmpClient& qmp, std::size_t nics) {
  std::set<std::string> missing;
  for (std::size_t i = 0; i < nics; ++i) missing.insert(nic_id(i));
  for (const char* container : kContainers)
    if (auto checked = check_nics_in(qmp, container, missing); !checked) return checked;
  if (missing.empty()) return {};
  return fail("can't be protected because QEMU lacks the NIC " + *missing.begin() +
              ", which the configuration has; it was unplugged: start the VM anew, without this [[vm.nic]] if it isn't "
              "wanted any more");
}

Result<void> check_blockers(QmpClient& qmp) {
  const auto answer = qmp.execute("query-migrate", {}, kTimeout);
  if (!answer) return tl::unexpected(answer.error());
  const auto reasons = answer->find("blocked-reasons");
  if (reasons == answer->end() || reasons->empty()) return {};
  return fail("can't be protected, as QEMU says: " + reasons->front().get<std::string>());
}

Result<void> check_balloon(QmpClient& qmp, std::uint64_t memory_bytes) {
  const auto answer = qmp.execute("query-balloon", {}, kTimeout);
  if (!answer) return {};  // there is no balloon, or its driver isn't there
  const std::uint64_t actual = answer->value("actual", memory_bytes);
  if (actual >= memory_bytes) return {};
  return refuse("virtio-balloon", "it is inflated, the guest has " + std::to_string(actual >> 20) + " MiB of " +
                                      std::to_string(memory_bytes >> 20) + "; deflate it");
}

Result<void> check_disks(QmpClient& qmp) {
  const auto listed = qmp.execute("query-block", {}, kTimeout);
  if (!listed) return tl::unexpected(listed.error());
  for (const Json& disk : *listed) {
    const auto inserted = disk.find("inserted");
    if (inserted == disk.end() || inserted->value("ro", false)) continue;
    const std::string name = disk.value("device", "");
    return refuse(name.empty() ? disk.value("qdev", "") : name, "it is a writable disk, and disks aren't replicated");
  }
  return {};
}

/// ROMs are the same on both sides: firmware, tables made by QEMU, option ROMs.
bool is_rom(std::string_view block) {
  return block.starts_with("pc.bios") || block.starts_with("pc.rom") || block.starts_with("/rom@") ||
         block.ends_with(".rom");
}

/// RAM that belongs to no memory backend is a device's.
Result<void> check_ram_blocks(QmpClient& qmp) {
  const auto backends = qmp.execute("query-memdev", {}, kTimeout);
  if (!backends) return tl::unexpected(backends.error());
  std::set<std::string> covered;
  for (const Json& backend : *backends) {
    covered.insert(backend.value("id", ""));
    covered.insert("/objects/" + backend.value("id", ""));
  }
  const auto text = qmp.execute("human-monitor-command", {{"command-line", "info ramblock"}}, kTimeout);
  if (!text) return tl::unexpected(text.error());
  std::istringstream lines(text->get<std::string>());
  std::string line;
  std::getline(lines, line);  // the table's head
  while (std::getline(lines, line)) {
    std::istringstream words(line);
    std::string block;
    std::string page_size;
    words >> block >> page_size;
    const bool unnamed = page_size.ends_with("B");  // of a backend that no device uses
    if (block.empty() || unnamed || is_rom(block) || covered.contains(block)) continue;
    return refuse(block, "its memory is outside the VM's RAM and isn't copied");
  }
  return {};
}

Result<void> check_cpus(QmpClient& qmp) {
  const auto cpus = qmp.execute("query-cpus-fast", {}, kTimeout);
  if (!cpus) return tl::unexpected(cpus.error());
  if (cpus->size() <= kCpusMax) return {};
  return fail("can't be protected with " + std::to_string(cpus->size()) +
              " CPUs: checkpoints are known to work with up to " + std::to_string(kCpusMax));
}

}  // namespace

Result<void> check_coverage(QmpClient& qmp, std::uint64_t memory_bytes, std::size_t nics) {
  return check_types(qmp)
      .and_then([&] { return check_nics(qmp, nics); })
      .and_then([&] { return check_blockers(qmp); })
      .and_then([&] { return check_balloon(qmp, memory_bytes); })
      .and_then([&] { return check_disks(qmp); })
      .and_then([&] { return check_ram_blocks(qmp); })
      .and_then([&] { return check_cpus(qmp); });
}

}  // namespace twinstep::qemu
