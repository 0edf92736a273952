// SPDX-License-Identifier: Apache-2.0
#include "daemon/capabilities.hpp"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <filesystem>

namespace twinstep::daemon {
namespace {

using testing::HasSubstr;

/// A host that has everything: its devices are `lo`, its QEMU is the shell.
Config config_of_this_host() {
  Config config;
  config.link.device = "lo";
  VmConfig vm;
  vm.name = "web";
  vm.nics = {{.uplink = "lo"}};
  vm.qemu = "sh";
  config.vms = {vm};
  return config;
}

class Capabilities : public testing::Test {
 protected:
  void SetUp() override {
    if (::geteuid() != 0) GTEST_SKIP() << "needs root";
  }
  static std::string error_of(const Config& config) {
    const auto result = check_capabilities(config);
    return result ? "all there" : result.error().message;
  }
};

TEST_F(Capabilities, OfThisHostSufficeAndLeaveNothingBehind) {
  const auto open_files = [] {
    const std::filesystem::directory_iterator files("/proc/self/fd");
    return std::distance(begin(files), end(files));
  };
  EXPECT_EQ(error_of(config_of_this_host()), "all there");
  const auto before = open_files();
  EXPECT_EQ(error_of(config_of_this_host()), "all there");
  EXPECT_EQ(open_files(), before);
}

TEST_F(Capabilities, NameAMissingDeviceAndItsKey) {
  auto config = config_of_this_host();
  config.link.device = "nowhere0";
  EXPECT_THAT(error_of(config), HasSubstr("no network device nowhere0: correct link.device"));
  config = config_of_this_host();
  config.vms.front().nics.front().uplink = "nowhere1";
  EXPECT_THAT(error_of(config), HasSubstr("no network device nowhere1: correct uplink of VM 'web'"));
}

TEST_F(Capabilities, NameAMissingQemu) {
  auto config = config_of_this_host();
  config.vms.front().qemu = "no-such-qemu";
  EXPECT_THAT(error_of(config), HasSubstr("no program no-such-qemu: install QEMU"));
  config.vms.front().qemu = "/nowhere/qemu";
  EXPECT_THAT(error_of(config), HasSubstr("no program /nowhere/qemu: install QEMU"));
}

TEST_F(Capabilities, SayThatRootIsNeeded) {
  std::array<int, 2> ends{};
  ASSERT_EQ(::pipe2(ends.data(), O_CLOEXEC), 0);
  const pid_t child = ::fork();
  if (child == 0) {
    constexpr uid_t kNobody = 65534;
    if (::setuid(kNobody) != 0) ::_exit(1);
    const auto text = error_of(config_of_this_host());
    ::_exit(::write(ends[1], text.data(), text.size()) > 0 ? 0 : 1);
  }
  ::close(ends[1]);
  std::array<char, 512> buffer{};
  const ssize_t got = ::read(ends[0], buffer.data(), buffer.size());
  ::close(ends[0]);
  int status = 0;
  ::waitpid(child, &status, 0);
  ASSERT_EQ(status, 0);
  EXPECT_THAT(std::string(buffer.data(), static_cast<std::size_t>(got)),
              HasSubstr("twinstepd needs root: it lacks CAP_NET_ADMIN"));
}

}  // namespace
}  // namespace twinstep::daemon
