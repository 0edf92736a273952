// SPDX-License-Identifier: Apache-2.0
#include "qemu-glue/launch/probe.hpp"

#include <array>
#include <set>
#include <string_view>

namespace twinstep::qemu {
namespace {

constexpr Milliseconds kTimeout{5000};
constexpr std::string_view kTypeSuffix = "-machine";

constexpr std::array<std::string_view, 9> kCommandsNeeded{"stop",       "cont",         "xen-save-devices-state",
                                                          "add-fd",     "blockdev-add", "snapshot-load",
                                                          "query-jobs", "job-dismiss",  "qom-get"};

Result<void> check_commands(QmpClient& qmp) {
  const auto listed = qmp.execute("query-commands", {}, kTimeout);
  if (!listed) return tl::unexpected(listed.error());
  std::set<std::string> names;
  for (const auto& command : *listed) names.insert(command.value("name", ""));
  for (const auto needed : kCommandsNeeded) {
    if (!names.contains(std::string(needed))) {
      return fail("this QEMU lacks the command " + std::string(needed) +
                  ", without which a VM can't be protected: use QEMU 7.2 or newer, built with Xen-style state saving");
    }
  }
  return {};
}

}  // namespace

Result<QemuFeatures> probe(QmpClient& qmp) {
  if (auto checked = check_commands(qmp); !checked) return tl::unexpected(checked.error());
  const auto type = qmp.execute("qom-get", {{"path", "/machine"}, {"property", "type"}}, kTimeout);
  if (!type) return tl::unexpected(type.error());
  if (!type->is_string()) return fail("QEMU does not say its machine's type");
  auto name = type->get<std::string>();
  if (name.ends_with(kTypeSuffix)) name.resize(name.size() - kTypeSuffix.size());
  return QemuFeatures{name};
}

}  // namespace twinstep::qemu
