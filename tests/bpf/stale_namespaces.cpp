// SPDX-License-Identifier: Apache-2.0
#include "stale_namespaces.hpp"

#include <signal.h>
#include <sys/types.h>

#include <cerrno>
#include <charconv>
#include <cstdlib>
#include <filesystem>
#include <optional>
#include <system_error>
#include <vector>

namespace twinstep::test {
namespace {

std::optional<pid_t> owner(const std::string& name, const std::string& prefix) {
  if (!name.starts_with(prefix)) return std::nullopt;
  pid_t pid = 0;
  const char* const end = name.data() + name.size();
  const auto [rest, error] = std::from_chars(name.data() + prefix.size(), end, pid);
  if (error != std::errc{} || end - rest != 1 || pid <= 0) return std::nullopt;
  return pid;
}

bool has_ended(pid_t pid) {
  return ::kill(pid, 0) != 0 && errno == ESRCH;
}

}  // namespace

void remove_stale_namespaces(const std::string& prefix) {
  std::error_code error;
  std::vector<std::string> stale;
  for (const auto& each : std::filesystem::directory_iterator("/run/netns", error)) {
    const std::string name = each.path().filename();
    if (const auto pid = owner(name, prefix); pid && has_ended(*pid)) stale.push_back(name);
  }
  for (const auto& name : stale)
    if (std::system(("ip netns del " + name + " 2>/dev/null").c_str()) != 0) continue;
}

}  // namespace twinstep::test
