// SPDX-License-Identifier: Apache-2.0
#include "own_network.hpp"

#include <gtest/gtest.h>
#include <net/if.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <cstring>

#include "io/unique_fd.hpp"

namespace {

/// Moves the test program into a network namespace of its own before any test makes a thread.
class OwnNetwork : public testing::Environment {
 public:
  void SetUp() override {
    ASSERT_TRUE(::unshare(CLONE_NEWNET) == 0 || ::unshare(CLONE_NEWUSER | CLONE_NEWNET) == 0) << std::strerror(errno);
    const twinstep::io::UniqueFd socket(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    ifreq request{};
    std::strcpy(request.ifr_name, "lo");
    request.ifr_flags = IFF_UP;
    ASSERT_EQ(::ioctl(socket.get(), SIOCSIFFLAGS, &request), 0) << std::strerror(errno);
  }
};

const auto* const own_network = testing::AddGlobalTestEnvironment(new OwnNetwork);

}  // namespace
