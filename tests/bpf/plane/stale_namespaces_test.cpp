// SPDX-License-Identifier: Apache-2.0
// What a killed run has left goes at the start of the next, and nothing that a living one uses.
#include "stale_namespaces.hpp"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>

namespace twinstep::test {
namespace {

constexpr const char* kPrefix = "ts-stale";

/// The number of a process that has ended.
pid_t dead() {
  const pid_t pid = ::fork();
  if (pid == 0) ::_exit(0);
  ::waitpid(pid, nullptr, 0);
  return pid;
}

void ip_netns(const std::string& command) {
  ASSERT_EQ(std::system(("ip netns " + command).c_str()), 0) << command;
}

bool is_there(const std::string& name) {
  return std::filesystem::exists("/run/netns/" + name);
}

TEST(StaleNamespacesTest, OnlyThoseOfTheDeadGo) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root (CAP_SYS_ADMIN) for network namespaces";
  const std::string stale = kPrefix + std::to_string(dead()) + "a";
  const std::string used = kPrefix + std::to_string(::getpid()) + "a";
  const std::string foreign = kPrefix + std::string("-other");
  for (const auto& each : {stale, used, foreign}) ip_netns("add " + each);
  remove_stale_namespaces(kPrefix);
  EXPECT_FALSE(is_there(stale));
  EXPECT_TRUE(is_there(used));
  EXPECT_TRUE(is_there(foreign));
  for (const auto& each : {used, foreign}) ip_netns("del " + each);
}

}  // namespace
}  // namespace twinstep::test
